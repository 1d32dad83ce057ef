"""Tokens without an embedding are refused before an adapter, which learns none, is trained on them."""

import json
from pathlib import Path

import pytest
import tiny

from truing.config.recipe import Recipe
from truing.core.errors import InputError
from truing.pipeline.rows import check_inputs

CHAT = (
    "{% for m in messages %}<|turn|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|turn|>{% endif %}"
)


def recipe(place: Path, chat: bool, **changes: str) -> Recipe:
    """On a base whose tokenizer was given a token that the model lacks; rows of messages have it, others do not."""
    made = tiny.recipe(place, stages=["sft"], **changes)
    words = tiny.tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    words.chat_template = CHAT
    words.save_pretrained(place / "base")
    if chat:
        said = [("user", "c"), ("assistant", "b")]
        rows = [[{"role": role, "content": letter + text} for role, text in said] for letter in "acdefghi"]
        lines = [json.dumps({"messages": row}) + "\n" for row in rows]
        (place / "demonstrations.jsonl").write_text("".join(lines))
    return made


def test_an_adapter_is_not_trained_on_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no embedding for <\|turn\|>.*sft\.method: full") as caught:
        check_inputs(recipe(tmp_path, chat=True))
    assert caught.value.code == "model/unlearnt-tokens"


def test_all_weights_may_learn_them_and_rows_without_them_are_sound(tmp_path: Path) -> None:
    assert check_inputs(recipe(tmp_path / "full", chat=True, **{"sft.method": "full"})) is not None
    assert check_inputs(recipe(tmp_path / "text", chat=False)) is not None
