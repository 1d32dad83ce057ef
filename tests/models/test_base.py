"""A base is loaded fit for training, says what was changed, and refuses with the mend what it cannot use."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForMaskedLM

from truing.errors import ModelError, RecipeError
from truing.models.base import LoadedBase, context_length, load_base
from truing.recipe import Base, Compute

SHAPES = ["llama", "gpt2", "qwen"]


def _load(directory: Path, **options: object) -> LoadedBase:
    return load_base(Base.model_validate({"path": str(directory), **options}), Compute())


def _edit_json(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_base_is_frozen_and_without_dropout(shape: str, tmp_path: Path) -> None:
    base = _load(tiny.directory(tmp_path, shape))
    assert not base.model.training
    assert not any(weight.requires_grad for weight in base.model.parameters())
    assert base.context == 64


def test_a_device_that_is_not_there_is_told_by_its_field(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^compute\.device: gpu cannot be used here .* Set it to auto or cpu\.$"):
        load_base(Base(path=str(tiny.directory(tmp_path))), Compute(device="gpu"))


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


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 32, "seq_length": 8}, 32),
        ({"n_positions": 48}, 48),
        ({"seq_length": 8}, 8),
        ({"max_position_embeddings": -1}, 1_000_000),
        ({}, 1_000_000),
    ],
)
def test_the_context_is_the_number_of_positions_of_the_model(config: dict[str, int], expected: int) -> None:
    assert context_length(SimpleNamespace(config=SimpleNamespace(**config))) == expected


def test_a_tokenizer_without_eos_is_refused(tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    _edit_json(directory / "tokenizer_config.json", eos_token=None)
    with pytest.raises(ModelError, match=r"no eos token.*Set eos_token in its tokenizer_config.json"):
        _load(directory)


def test_remote_code_is_refused_with_the_mend_and_never_run(tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path / "model")
    (directory / "configuration_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    auto_map = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "configuration_own.Own"}
    _edit_json(directory / "config.json", model_type="own", auto_map=auto_map)
    with pytest.raises(ModelError, match=r"wants to run Python code.*base.trust_remote_code: true"):
        _load(directory)
    assert not (tmp_path / "ran").exists()


def test_weights_that_can_run_code_are_refused_even_where_no_safetensors_stand_beside_them(tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    weights = directory / "model.safetensors"
    torch.save(load_file(weights), directory / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ModelError, match=r"in pytorch_model\.bin, a format .* Convert them to safetensors"):
        _load(directory)


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer could be loaded.*base.path takes a directory") as refusal:
        _load(tmp_path)
    assert refusal.value.where == str(tmp_path)


def test_a_model_that_reads_ahead_is_refused(tmp_path: Path) -> None:
    tiny.directory(tmp_path)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=tiny.VOCABULARY, initializer_range=0.3, **sizes)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"BertLMHeadModel reads the tokens that follow"):
        load_base(Base(path=str(tmp_path)), Compute(device="cpu"))


@pytest.mark.parametrize(("name", "content"), [("config.json", b"[]"), ("model.gguf", b"GGUF")])
def test_a_description_of_another_kind_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    tiny.directory(tmp_path)
    (tmp_path / name).write_bytes(content)
    gguf_file = name if name.endswith("gguf") else None
    with pytest.raises(ModelError, match="could be loaded from here"):
        load_base(Base(path=str(tmp_path), gguf_file=gguf_file), Compute(device="cpu"))


def test_a_tokenizer_without_a_model_is_refused(tmp_path: Path) -> None:
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no causal language model could be loaded.*base.path takes a directory"):
        _load(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 64, b'{"half'])
def test_damaged_weights_are_refused(damage: bytes, tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    (directory / "model.safetensors").write_bytes(damage)
    with pytest.raises(ModelError, match="no causal language model could be loaded"):
        _load(directory)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_description_is_refused(name: str, tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    (directory / name).write_text("{")
    with pytest.raises(ModelError, match="could be loaded"):
        _load(directory)


def test_weights_that_are_missing_are_refused_and_not_made_up(tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    _edit_json(directory / "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"its files lack model.layers.2\S+ and 8 more, which LlamaForCausalLM needs"):
        _load(directory)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    tiny.directory(tmp_path)
    tiny.model(vocabulary=20).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"\d+ tokens and the model only 20"):
        _load(tmp_path)
