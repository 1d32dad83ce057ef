"""Tokens without an embedding are refused where a stage that begins with the base could not learn them."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import save_file
from transformers import PhiConfig, PhiForCausalLM

from truing.core.errors import InputError
from truing.models.weight_files import WEIGHTS
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
    assert "no embedding for <|stop|>, <|start|>, and sft reads what no stage has learnt" in said
    assert "sft.method: full" in said


@pytest.mark.parametrize("stages", [["ppo"], ["reward", "ppo"]])
def test_a_policy_that_learns_from_its_own_responses_does_not_begin_without_them(
    stages: list[str], tmp_path: Path
) -> None:
    rewards = {} if "reward" in stages else {"rewards.sources": [{"kind": "function", "path": "letters:letter_a"}]}
    said = _refusal(tiny.chat_recipe(tmp_path, stages=stages, **rewards))
    assert "ppo reads what no stage has learnt" in said
    assert "sft.method" not in said


@pytest.mark.parametrize("stages", [["sft"], ["sft", "reward", "ppo"], ["reward"], ["dpo"]])
def test_rows_that_learn_beside_the_adapter_are_sound(stages: list[str], tmp_path: Path) -> None:
    assert check_inputs(tiny.chat_recipe(tmp_path, stages=stages)) is not None


@pytest.mark.parametrize("stages", [["sft", "dpo"], ["sft", "reward"], ["sft", "ppo"]])
def test_a_stage_does_not_read_what_the_rows_of_the_one_before_have_not_taught(
    stages: list[str], tmp_path: Path
) -> None:
    """SFT learns from plain text, and pairs or prompts are conversations."""
    rewards = {} if "reward" in stages else {"rewards.sources": [{"kind": "function", "path": "letters:letter_a"}]}
    prompts = {"data.prompts": {"path": str(tmp_path / "preferences.jsonl")}} if "ppo" in stages else {}
    made = tiny.chat_recipe(tmp_path, stages=stages, **rewards, **prompts)
    words = tiny.tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<|start|>", "<|stop|>"]})
    words.chat_template = tiny.CHAT
    words.save_pretrained(tmp_path / "base")
    tiny.write_rows(tmp_path / "demonstrations.jsonl", tiny.demonstrations())
    assert f"{stages[-1]} reads what no stage has learnt" in _refusal(made)


def test_all_weights_may_learn_them_and_rows_without_them_are_sound(tmp_path: Path) -> None:
    full = _without_rows(tmp_path / "full", stages=["sft"], **{"sft.method": "full"})
    assert check_inputs(full) is not None
    plain = _without_rows(tmp_path / "text", stages=["sft"])
    words = tiny.tokenizer()  # whose eos is none of them
    words.add_special_tokens({"additional_special_tokens": ["<|start|>"]})
    words.save_pretrained(tmp_path / "text/base")
    tiny.write_rows(tmp_path / "text/demonstrations.jsonl", tiny.demonstrations())
    assert check_inputs(plain) is not None


def _on_spare_rows(place: Path, shape: str = "llama", value: float = 0.5, **changes: Any) -> Any:
    """A recipe of conversations, on a base whose vocabulary was padded: new tokens took rows that are all alike."""
    made = tiny.chat_recipe(place, shape, **changes)
    model = tiny.model(shape, vocabulary=48)
    with torch.no_grad():
        model.get_input_embeddings().weight[tiny.tokenizer().vocab_size :] = value
    (place / "base" / WEIGHTS).unlink()
    model.save_pretrained(place / "base", max_shard_size=2000)  # several files
    return made


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_tokens_that_share_a_spare_row_are_seen_in_the_files_alone(shape: str, tmp_path: Path) -> None:
    """The same as the stage itself would say, which loads the weights."""
    made = _on_spare_rows(tmp_path, shape, stages=["sft"])
    assert len([*(tmp_path / "base").glob("*.safetensors")]) > 1
    said = tiny.prepared(made).tokens(["demonstrations"])
    with pytest.raises(InputError) as by_the_stage:
        tiny.load(made).to_learn(lambda: said, by_adapter=True)
    with pytest.raises(InputError) as caught:
        check_inputs(made)
    assert caught.value.problems == (by_the_stage.value.problem,)
    assert "no embedding of its own for <|stop|>, <|start|>: it is zero" in str(caught.value)


def test_so_are_those_on_rows_of_zeros_in_files_that_hold_the_inner_model_alone(tmp_path: Path) -> None:
    made = _on_spare_rows(tmp_path, "gpt2", value=0.0, stages=["dpo"])
    for file in (tmp_path / "base").glob("model*"):
        file.unlink()
    model = tiny.model("gpt2", vocabulary=48)
    with torch.no_grad():
        model.get_input_embeddings().weight[tiny.CHAT_TOKENS[0]] = 0
    inner = {name.removeprefix("transformer."): weight for name, weight in model.state_dict().items()}
    save_file({name: weight for name, weight in inner.items() if name != "lm_head.weight"}, tmp_path / "base" / WEIGHTS)
    with pytest.raises(InputError, match=r"no embedding of its own for <\|stop\|>: it is zero"):
        check_inputs(made)


def test_rows_that_differ_and_those_that_all_weights_have_learnt_are_sound(tmp_path: Path) -> None:
    whole = {"sft.method": "full"}
    assert check_inputs(_on_spare_rows(tmp_path / "learnt", stages=["sft", "dpo"], **whole)) is not None
    scored = {"rewards.sources": [{"kind": "function", "path": "letters:letter_a"}]}
    online = _on_spare_rows(tmp_path / "ppo", stages=["ppo"], **scored)
    with pytest.raises(InputError, match="no embedding of its own"):  # for a policy that could never say that it ends
        check_inputs(online)
    apart = tiny.chat_recipe(tmp_path / "apart", stages=["sft"])
    tiny.model(vocabulary=48).save_pretrained(tmp_path / "apart/base")
    assert check_inputs(apart) is not None
