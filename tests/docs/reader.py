"""The folder that the reader of a page has, on tiny models and rows, and `truing` called in it."""

import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import yaml
from docs.code_links import ROOT

from truing.cli import main
from truing.config import recipe_shelf
from truing.config.dotted import assign

FILES = {
    "MODEL": "base",
    "CLASSIFIER": "reward-model",
    "path/to/classifier": "reward-model",
    "RECIPE": "my.yaml",
    "RUN": "runs/mine",
    "REWARD": "runs/mine",
    "DIR": "out",
    "ROWS": "demonstrations.jsonl",
    "CONVERSATIONS.jsonl": "demonstrations.jsonl",
    "PAIRS": "preferences.jsonl",
    "PAIRS.jsonl": "preferences.jsonl",
    "TRANSCRIPTS.jsonl": "transcripts.jsonl",
    "CACHE/heldout_preferences.jsonl": "preferences.jsonl",
    "RATINGS.jsonl": "ratings.jsonl",
    "PROMPTS": "prompts.jsonl",
    "FILE.py:function": "rules.py:short",
    "N": "4",
    "recipes/quickstart.yaml": "quickstart",
}
"""What a word of a page is in the folder; other words are what they say"""
OTHERS = recipe_shelf() | {
    "own.yaml": ROOT / "recipes" / "dpo.yaml",
    "sums/grpo.yaml": ROOT / "examples" / "arithmetic" / "grpo.yaml",
    "runs/guessing/ppo.yaml": ROOT / "examples" / "guessing" / "ppo.yaml",
}
"""Recipes whose sizes are not the folder's own"""
SIZES: dict[str, Any] = tiny.SMALL | {"data.max_length": 60, "evaluation.every": 2, "sft.batch_size": 128}
WORLD = {"world.demonstrations": 64, "world.preferences": 64, "world.prompts": 32}
OF_SECTIONS: dict[str, dict[str, Any]] = {"world": WORLD, "base": {"base.path": "base"}, "llm_judges": {}}
"""What makes these tiny: all of them, and those that have a section"""
ANSWER = "aha."


def write_folder(place: Path) -> None:
    """What README.md says that its commands need: `my.yaml`, in tiny sizes, `rules.py`, and rows of plain text."""
    tiny.directory(place / "base", f"llama{tiny.IN_GROUPS}")
    tiny.classifier(place / "reward-model")
    _write(place, demonstrations=tiny.demonstrations(), preferences=tiny.preferences(), ratings=tiny.ratings())
    _write(place, prompts=[{"prompt": row["prompt"], "answer": ANSWER} for row in tiny.demonstrations()])
    recipe, rules = (_block("README.md", language) for language in ("yaml", "python"))
    document = yaml.safe_load(recipe)
    for key, value in {**SIZES, "base.path": "base", "ppo.kl.beta": document["ppo"]["kl"]["beta"]}.items():
        assign(document, key, value)
    (place / "my.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (place / "old.yaml").write_text("world: {}\nppo: {max_new_tokens: 6}\n", encoding="utf-8")
    longer_wins = "\n\ndef score(prompts, responses):\n    return [float(len(text)) for text in responses]\n"
    (place / "rules.py").write_text(rules + longer_wins, encoding="utf-8")


def write_chat_folder(place: Path) -> None:
    """What a shipped recipe needs: a model with a chat template, and rows of messages."""
    write_folder(place)
    words = tiny.tokenizer()
    words.add_special_tokens({"eos_token": "<|stop|>", "additional_special_tokens": ["<|start|>"]})
    words.chat_template = tiny.CHAT
    words.save_pretrained(place / "base")
    tiny.model(vocabulary=len(words)).save_pretrained(place / "base")
    pairs, asked = tiny.preferences(), [[_turn("user", row["prompt"])] for row in tiny.preferences()]
    sides = {side: [[_turn("assistant", row[side])] for row in pairs] for side in ("chosen", "rejected")}
    _write(
        place,
        demonstrations=[{"messages": [*turn, _turn("assistant", ANSWER)]} for turn in asked],
        preferences=[
            {"prompt": turn, "chosen": chosen, "rejected": rejected}
            for turn, chosen, rejected in zip(asked, *sides.values(), strict=True)
        ],
        ratings=[
            {"messages": [*turn, *reply], "label": side == "chosen"}
            for side, replies in sides.items()
            for turn, reply in zip(asked, replies, strict=True)
        ],
        prompts=[{"prompt": turn, "answer": ANSWER} for turn in asked],
        transcripts=[
            {side: f"\n\nHuman: {row['prompt']}\n\nAssistant: {row[side]}" for side in ("chosen", "rejected")}
            for row in pairs
        ],
    )


def meant(words: Sequence[str]) -> list[str]:
    """Those of a page as the folder has them, behind `--set KEY=` too; without what three dots leave to the reader."""
    parts = [word.rpartition("=") for word in shlex.split(re.sub(r"(--\w+ )?\.\.\.", "", shlex.join(words)))]
    return [f"{key}{equals}{FILES.get(value, value)}" for key, equals, value in parts]


def call(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`truing ARGUMENTS` in this process and folder. What the page sends to a file goes there."""
    words = list(arguments)
    with ExitStack() as stack:
        if words[-2:-1] == [">"]:
            stack.enter_context(redirect_stdout(stack.enter_context(open(words.pop(), "w", encoding="utf-8"))))
            words.pop()
        monkeypatch.setattr(sys, "argv", ["truing", *words])
        end = stack.enter_context(pytest.raises(SystemExit))
        main()
    assert not end.value.code


def at_once(arguments: Sequence[str], *_: Any, **__: Any) -> SimpleNamespace:
    """In place of a process that runs `truing`: it has run, in this one, once it is started."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        call(arguments, monkeypatch)
    return SimpleNamespace(poll=lambda: 0, kill=lambda: None)


def made_tiny(arguments: Sequence[str]) -> list[str]:
    """The same with tiny sizes for a recipe that is not the folder's own, and for what a sweep does of each run."""
    has_sizes = len(arguments) > 1 and arguments[0] in ("run", "sweep", "validate", "doctor")
    sizes = _sizes_of(arguments[1]) if has_sizes else {}
    sets = [word for key, value in sizes.items() for word in ("--set", f"{key}={value}")]
    once = ["--seeds", "1", "--best-of", "4"] if arguments[0] == "sweep" else []
    return [*arguments[:2], *sets, *arguments[2:], *once]


def _sizes_of(recipe: str) -> dict[str, Any]:
    if recipe not in OTHERS:
        return {}
    text = OTHERS[recipe].read_text(encoding="utf-8")
    return SIZES | {
        key: value for section, sizes in OF_SECTIONS.items() if f"\n{section}:" in text for key, value in sizes.items()
    }


def _block(page: str, language: str) -> str:
    found = re.search(
        rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found
    return found[1]


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _write(place: Path, **rows: list[dict[str, Any]]) -> None:
    for name, of_file in rows.items():
        tiny.write_rows(place / f"{name}.jsonl", of_file)
