"""What `truing doctor` predicts against what runs take: memory at each stage's peak, and seconds of a step.

    python benchmarks/estimate/run.py [--movies CACHE] [--only NAME ...]

Runs the quickstart and a random Llama of 12 layers on the rows of the embedded world, with shared roles, with half of
the layers adapted and with separate roles, for a few steps each; with CACHE, which examples/movies/prepare.py makes,
the movies as well. Prints the table of docs/doctor.md. The machine should do nothing else.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from truing.config.sections import World
from truing.worlds.files import word_tokenizer
from truing.worlds.reviews import vocabulary, write_world

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
SEPARATE = ["roles=separate", "sft.method=full"]
FEW_STEPS = [
    "ppo.updates=4",
    "evaluation.every=1000",  # after the last step alone, which is timed with its evaluation and so left out
    "sft.log_every=1000",
    "checkpoints.every_steps=4",
    "evaluation.judges={}",
]
KEPT = {"demonstrations": 160, "preferences": 160, "heldout_preferences": 30, "prompts": 200}
"""Rows of each file of the movies"""
LLAMA = """
base: {{path: "{place}/base"}}
data:
  demonstrations: {{path: "{place}/demonstrations.jsonl"}}
  preferences: {{path: "{place}/preferences.jsonl"}}
  prompts: {{path: "{place}/prompts.jsonl"}}
stages: [sft, reward, ppo, dpo]
ppo: {{episodes: 32}}
rollout: {{max_new_tokens: 32}}
evaluation: {{prompts: 32}}
"""
PREDICT = """
import json, sys
from pathlib import Path
from truing.config import load_recipe
from truing.estimate.estimator import estimate
found = estimate(load_recipe(Path(sys.argv[1]), sys.argv[2:]))
print(json.dumps({stage: (usage.peak, usage.seconds) for stage, usage in found.stages.items()}))
"""


def main() -> None:
    """Prints the rows of each recipe as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=Path, metavar="CACHE")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    choices = parser.parse_args()
    with TemporaryDirectory() as name:
        place = Path(name)
        print("| recipe | stage | GB predicted | measured | ratio | s predicted | measured | ratio |")
        print("|---|---|---|---|---|---|---|---|")
        for case, (recipe, changes) in _cases(choices.movies, place).items():
            if choices.only is None or case in choices.only:
                _compare(case, recipe, [*changes, *FEW_STEPS], place / f"run of {case}")


def _cases(movies: Path | None, place: Path) -> dict[str, tuple[Path, list[str]]]:
    """Recipe and changes of each, by name."""
    llama = _llama(place / "llama")
    cases = {
        "quickstart": (QUICKSTART, ["sft.epochs=1", "variants={}"]),
        "llama, shared": (llama, []),
        "llama, half adapted": (llama, ["lora.layers=0.5"]),
        "llama, separate": (llama, SEPARATE),
    }
    if movies is not None:
        rows = [*_few_rows(movies, place), "rollout.max_new_tokens=16"]
        cases["movies, shared"] = (movies / "movies.yaml", rows)
        cases["movies, separate"] = (movies / "movies.yaml", [*rows, "roles=separate"])
    return cases


def _compare(name: str, recipe: Path, changes: list[str], out: Path) -> None:
    watched = str(Path(__file__).with_name("watched.py"))
    measured = _said(watched, str(out), str(recipe), *changes)
    for stage, (size, seconds) in _said("-c", PREDICT, str(recipe), *changes).items():
        peak, laps = measured[stage]
        row = _row(size / 1e9, peak / 1e9) + _row(seconds, median(laps[:-1]))
        print(f"| {name} | {stage} |{row}", flush=True)


def _row(predicted: float, measured: float) -> str:
    return f" {predicted:.3g} | {measured:.3g} | {predicted / measured:.2f} |"


def _said(*command: str) -> Any:
    """What another process prints as JSON."""
    done = subprocess.run([sys.executable, "-W", "ignore", *command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _llama(place: Path) -> Path:
    """The recipe of a random Llama of 19 million weights that speaks the embedded world's language."""
    write_world(World(demonstrations=400, preferences=300, prompts=400), 17, place)
    words = vocabulary()
    tokenizer = word_tokenizer([*words, *(f"word{number}" for number in range(8000 - len(words)))])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=12,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(place / "base")
    tokenizer.save_pretrained(place / "base")
    recipe = place / "recipe.yaml"
    recipe.write_text(LLAMA.format(place=place), encoding="utf-8")
    return recipe


def _few_rows(cache: Path, place: Path) -> list[str]:
    """The first rows of each file of the movies, and the overrides that name them."""
    for name, count in KEPT.items():
        lines = (cache / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (place / f"{name}.jsonl").write_text("".join(lines[:count]), encoding="utf-8")
    return [f"data.{name}.path={json.dumps(str(place / name) + '.jsonl')}" for name in KEPT]


if __name__ == "__main__":
    main()
