"""Tokens without an embedding are refused where a stage that begins with the base could not learn them."""

from pathlib import Path
from typing import Any

import pytest
import tiny
from transformers import PhiConfig, PhiForCausalLM

from truing.core.errors import InputError
from truing.pipeline.rows import check_inputs


def _without_rows(place: Path, **changes: Any) -> Any:
    """A recipe of conversations on a base whose projection has a bias, so that no row of it learns by itself."""
    made = tiny.chat_recipe(place, **changes)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    PhiForCausalLM(PhiConfig(vocab_size=tiny.VOCABULARY, **shape)).save_pretrained(place / "base")
    return made


def _refusal(made: Any) -> str:
    with pytest.raises(InputError) as caught:
        check_inputs(made)
    assert caught.value.code == "model/unlearnt-tokens"
    return str(caught.value)


def test_an_adapter_is_not_trained_on_them_where_their_rows_cannot_learn(tmp_path: Path) -> None:
    said = _refusal(_without_rows(tmp_path, stages=["sft"]))
    assert "no embedding for <|stop|>, <|start|>, and the adapter of sft learns none" in said
    assert "sft.method: full" in said


@pytest.mark.parametrize("stages", [["ppo"], ["reward", "ppo"]])
def test_a_policy_that_learns_from_its_own_responses_does_not_begin_without_them(
    stages: list[str], tmp_path: Path
) -> None:
    rewards = {} if "reward" in stages else {"rewards.sources": [{"kind": "function", "path": "letters:letter_a"}]}
    said = _refusal(tiny.chat_recipe(tmp_path, stages=stages, **rewards))
    assert "the adapter of ppo learns none" in said
    assert "sft.method" not in said


@pytest.mark.parametrize("stages", [["sft"], ["sft", "reward", "ppo"], ["reward"], ["dpo"]])
def test_rows_that_learn_beside_the_adapter_are_sound(stages: list[str], tmp_path: Path) -> None:
    assert check_inputs(tiny.chat_recipe(tmp_path, stages=stages)) is not None


def test_all_weights_may_learn_them_and_rows_without_them_are_sound(tmp_path: Path) -> None:
    full = _without_rows(tmp_path / "full", stages=["sft"], **{"sft.method": "full"})
    assert check_inputs(full) is not None
    plain = _without_rows(tmp_path / "text", stages=["sft"])
    words = tiny.tokenizer()  # whose eos is none of them
    words.add_special_tokens({"additional_special_tokens": ["<|start|>"]})
    words.save_pretrained(tmp_path / "text/base")
    tiny.write_rows(tmp_path / "text/demonstrations.jsonl", tiny.demonstrations())
    assert check_inputs(plain) is not None
