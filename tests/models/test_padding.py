"""Every token has an embedding and pad is a token of its own, or the two are refused with the hint."""

import json
from pathlib import Path

import pytest
import tiny
import torch

from truing.config.sections import Base, Compute
from truing.core.errors import ModelError
from truing.models.load import LoadedBase, load_base

SHAPES = ["llama", "gpt2", "qwen"]


def _load(directory: Path) -> LoadedBase:
    return load_base(Base(path=str(directory)), Compute())


def _edit_json(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_base_with_a_pad_of_its_own_is_left_as_it_is(tmp_path: Path) -> None:
    base = _load(tiny.directory(tmp_path))
    assert base.notes == ()
    assert len(base.model.get_input_embeddings().weight) == tiny.VOCABULARY


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("pad", "said"), [(None, "no pad token"), (tiny.EOS, "pad = eos ('<|end|>')")])
def test_a_pad_that_is_missing_or_eos_is_added_and_said(shape: str, pad: str | None, said: str, tmp_path: Path) -> None:
    base = _load(tiny.directory(tmp_path, shape, pad))
    ids = {base.tokenizer.pad_token_id, base.model.config.pad_token_id, base.model.generation_config.pad_token_id}
    assert len(ids) == 1
    assert base.tokenizer.pad_token_id != base.tokenizer.eos_token_id == base.model.config.eos_token_id
    assert len(base.model.get_input_embeddings().weight) > base.tokenizer.pad_token_id
    assert said in base.notes[0]
    assert "grew from 33 to" in base.notes[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_added_pad_changes_no_other_logit_and_is_no_likelier_than_chance(shape: str, tmp_path: Path) -> None:
    base = _load(tiny.directory(tmp_path, shape, pad=None))
    tokens = torch.arange(33)[None]
    with torch.no_grad():
        before = tiny.model(shape, vocabulary=33)(tokens).logits[0]
        after = base.model(tokens).logits[0]
    torch.testing.assert_close(after[:, :33], before, atol=1e-5, rtol=1e-5)
    assert float(after.softmax(-1)[:, base.tokenizer.pad_token_id].max()) <= 1 / 33


def test_an_added_pad_is_the_same_whatever_was_drawn_before(tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path, pad=None)
    weights = [base.model.get_input_embeddings().weight for base in (_load(directory), _load(directory))]
    assert torch.equal(*weights)


def test_a_tokenizer_without_eos_is_refused(tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    _edit_json(directory / "tokenizer_config.json", eos_token=None)
    for name in ("config.json", "generation_config.json"):
        _edit_json(directory / name, eos_token_id=None)
    with pytest.raises(ModelError, match=r"no eos token.*Set eos_token in its tokenizer_config.json"):
        _load(directory)


def _number(directory: Path, token: str, number: int) -> None:
    words = json.loads((directory / "tokenizer.json").read_text())
    words["model"]["vocab"][token] = number
    (directory / "tokenizer.json").write_text(json.dumps(words))


def test_a_token_without_an_embedding_is_refused_though_there_are_enough_for_all(tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    _number(directory, "a", 500)
    with pytest.raises(ModelError, match=r"numbers a token 500 and the model has 34: .* Give the model its own"):
        _load(directory)


def test_a_pad_that_would_be_added_in_the_place_of_another_token_is_refused(tmp_path: Path) -> None:
    tiny.directory(tmp_path, pad=None)
    tiny.model().save_pretrained(tmp_path)  # one row more than there are tokens
    _number(tmp_path, "a", tiny.VOCABULARY - 1)  # the number that the library would give to the next token
    with pytest.raises(ModelError, match=r"no pad token, and .* Set pad_token in its tokenizer_config\.json"):
        _load(tmp_path)


def test_a_token_that_is_called_as_the_pad_becomes_it(tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    _edit_json(directory / "tokenizer_config.json", pad_token=None)
    base = _load(directory)
    assert base.tokenizer.pad_token_id == base.model.config.pad_token_id == tiny.VOCABULARY - 1
    assert len(base.model.get_input_embeddings().weight) == tiny.VOCABULARY


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    tiny.directory(tmp_path)
    tiny.model(vocabulary=20).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"\d+ tokens and the model only 20"):
        _load(tmp_path)


def test_new_tokens_start_apart_from_each_other_and_near_the_mean(tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    words = tiny.tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<|a|>", "<|b|>"]})
    words.save_pretrained(directory)
    base = _load(directory)
    assert base.new_tokens == {tiny.VOCABULARY, tiny.VOCABULARY + 1}
    for layer in (base.model.get_input_embeddings(), base.model.get_output_embeddings()):
        old, (one, other) = layer.weight[: tiny.VOCABULARY], layer.weight[tiny.VOCABULARY :]
        spread = old.std(0)
        assert not torch.equal(one, other)
        assert float(((one - old.mean(0)) / spread).abs().max()) < 0.5
