"""A base is loaded fit for training, says what was changed, and refuses with the hint what it cannot use."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import tokenizer_shapes as shapes
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedConfig,
)

from truing.config.sections import Base, Compute
from truing.core.errors import ModelError, RecipeError
from truing.models.arrival import let_go_of_files
from truing.models.context import context_length
from truing.models.load import LoadedBase, check_base, load_base, outline_base
from truing.models.weights import refuse_no_numbers

SHAPES = ["llama", "gpt2", "qwen"]
WIDTHS: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "original_max_position_embeddings": 16,
    "initializer_range": 0.5,
}


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
    assert context_length(SimpleNamespace(config=PreTrainedConfig(**config))) == expected


@pytest.mark.parametrize("by_layer_type", [False, True])
def test_a_text_goes_no_further_than_where_longrope_reads_it_otherwise(by_layer_type: bool) -> None:
    factors = {"short_factor": [1.0, 1.0], "long_factor": [4.0, 8.0]}
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 16, "rope_theta": 10_000.0, **factors}
    config = PreTrainedConfig()
    config.max_position_embeddings = 64
    config.rope_parameters = {"full_attention": rope} if by_layer_type else rope
    assert context_length(SimpleNamespace(config=config)) == 16  # type: ignore[arg-type]
    phi = Phi3ForCausalLM(Phi3Config(**WIDTHS, max_position_embeddings=64, rope_parameters=rope)).eval()
    tokens = torch.arange(1, 18)[None]
    alone, within = phi(tokens[:, :16]).logits, phi(tokens).logits[:, :16]
    assert context_length(phi) == 16
    assert not torch.allclose(alone, within, atol=1e-3)  # so it is, one token further


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
    with pytest.raises(ModelError, check=lambda error: error.code == "model/not-causal"):
        load_base(Base(path=str(tmp_path)), Compute(device="cpu"))


@pytest.mark.parametrize("read", [load_base, outline_base])
def test_the_decoder_of_an_encoder_decoder_is_no_language_model(read: Any, tmp_path: Path) -> None:
    tiny.directory(tmp_path)
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = BartConfig(vocab_size=tiny.VOCABULARY, d_model=16, encoder_layers=1, decoder_layers=1, **heads)
    BartForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, check=lambda error: error.code == "model/encoder-decoder"):
        read(Base(path=str(tmp_path)), Compute(device="cpu"))


@pytest.mark.parametrize("ends", ["2", [2, "2"], [[2]], 2.5])
def test_an_end_token_that_is_no_number_is_refused_with_the_file_to_correct(ends: object, tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    _edit_json(directory / "generation_config.json", eos_token_id=ends)
    with pytest.raises(ModelError, match="Correct eos_token_id", check=lambda error: error.code == "model/odd-ends"):
        _load(directory)


@pytest.mark.parametrize(("name", "content"), [("config.json", b"[]"), ("model.gguf", b"GGUF")])
def test_a_description_of_another_kind_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    tiny.directory(tmp_path)
    (tmp_path / name).write_bytes(content)
    gguf_file = name if name.endswith("gguf") else None
    with pytest.raises(ModelError, check=lambda error: error.code == "model/not-loaded"):
        load_base(Base(path=str(tmp_path), gguf_file=gguf_file), Compute(device="cpu"))


def test_a_tokenizer_without_a_model_is_refused(tmp_path: Path) -> None:
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no causal language model could be loaded.*base.path takes a directory"):
        _load(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 64, b'{"half'])
def test_damaged_weights_are_refused(damage: bytes, tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    (directory / "model.safetensors").write_bytes(damage)
    with pytest.raises(ModelError, check=lambda error: error.code == "model/not-loaded"):
        _load(directory)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_description_is_refused(name: str, tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    (directory / name).write_text("{")
    with pytest.raises(ModelError, check=lambda error: error.code == "model/not-loaded"):
        _load(directory)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_attention_heads": 0},
        {"hidden_size": "x"},
        {"num_hidden_layers": "2"},
        {"vocab_size": 0},
        {"pad_token_id": 999},
        {"dtype": "bogus"},
        {"quantization_config": 5},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_config_of_odd_values_is_refused_whatever_the_library_raises(wrong: dict[str, Any], tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    _edit_json(directory / "config.json", **wrong)
    for load in (load_base, outline_base):
        with pytest.raises(ModelError, match=r"could be loaded from here \(.+\)\. base\.path takes") as refusal:
            load(Base(path=str(directory)), Compute())
        assert refusal.value.where == str(directory)


@pytest.mark.parametrize("config", ["[]", '"a"'])
def test_a_tokenizers_config_of_another_kind_is_refused(config: str, tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    (directory / "tokenizer_config.json").write_text(config)
    with pytest.raises(ModelError, check=lambda error: error.code == "model/not-loaded"):
        _load(directory)


@pytest.mark.parametrize("body", ["def (", "1 / 0", "raise AttributeError", "class Config: pass"])
def test_code_that_was_allowed_and_fails_is_told_as_the_models(body: str, tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    (directory / "own.py").write_text(body)
    auto_map = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    _edit_json(directory / "config.json", model_type="own", auto_map=auto_map)
    with pytest.raises(ModelError, check=lambda error: error.code == "model/not-loaded"):
        _load(directory, trust_remote_code=True)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RecipeError("ours")])
def test_want_of_memory_and_errors_of_ours_are_no_fault_of_the_files(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    directory = tiny.directory(tmp_path)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(type(error)) as raised:
        _load(directory)
    assert raised.value is error


def test_a_gguf_file_gives_the_weights_that_were_written_into_it_and_they_can_be_saved(tmp_path: Path) -> None:
    base = _load(tiny.gguf_directory(tmp_path / "base"), gguf_file="model.gguf")
    base.model.save_pretrained(tmp_path / "saved")
    written, saved = tiny.model().state_dict(), load_file(tmp_path / "saved" / "model.safetensors")
    assert written.keys() == base.model.state_dict().keys() == saved.keys()
    # The library's tokenizer has special tokens of its own, for which the embeddings grow.
    for weights in (base.model.state_dict(), saved):
        assert all(torch.equal(weight, weights[name][: len(weight)]) for name, weight in written.items())


@pytest.mark.parametrize("entry", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.norm.weight"])
def test_weights_that_are_no_numbers_are_refused_though_no_text_may_need_them(
    entry: float, name: str, tmp_path: Path
) -> None:
    file = tiny.directory(tmp_path) / "model.safetensors"
    weights = load_file(file)
    weights[name].view(-1)[-1] = entry
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=name, check=lambda error: error.code == "model/not-finite"):
        _load(tmp_path)


def test_a_norm_with_an_infinite_weight_is_refused_whatever_it_is_called() -> None:
    model = tiny.model("gpt2")
    model.transformer.ln_f.weight.data[-1] = torch.inf
    with pytest.raises(ModelError, match=r"ln_f\.weight", check=lambda error: error.code == "model/not-finite"):
        refuse_no_numbers(model.named_parameters(), "here")


def test_a_bias_may_rule_a_token_out(tmp_path: Path) -> None:
    model = tiny.model("gpt2")
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(tiny.VOCABULARY).index_fill(0, torch.tensor([3]), -torch.inf))
    refuse_no_numbers(model.named_parameters(), "here")


def test_a_tokenizer_makes_the_same_tokens_each_time_whatever_it_was_trained_with(tmp_path: Path) -> None:
    words = shapes.byte_bpe()
    words.backend_tokenizer.model.dropout = 0.5
    tiny.model(vocabulary=len(words)).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    base = _load(tmp_path)
    assert len({tuple(base.tokenizer.encode("The ferry to the island")) for _ in range(9)}) == 1
    assert any("leaves merges out by chance (dropout 0.5)" in note for note in base.notes)


def test_weights_that_are_missing_are_refused_and_not_made_up(tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path)
    _edit_json(directory / "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"its files lack model.layers.2\S+ and 8 more, which LlamaForCausalLM needs"):
        _load(directory)


@pytest.mark.parametrize("damage", ["lacking", "shape"])
def test_files_of_a_base_are_held_against_what_it_needs_without_its_weights(damage: str, tmp_path: Path) -> None:
    base, compute = Base(path=str(tiny.directory(tmp_path))), Compute()
    check_base(base, outline_base(base, compute))
    file, name = tmp_path / "model.safetensors", "model.layers.1.mlp.up_proj.weight"
    weights = load_file(file)
    damaged = {"lacking": {}, "shape": {name: torch.ones(7, 16)}}[damage]
    save_file({key: weight for key, weight in weights.items() if key != name} | damaged, file, {"format": "pt"})
    told = "its files (lack|have) model.layers.1.mlp.up_proj.weight(, | of shape .7, 16., )wh.* LlamaForCausalLM"
    for look in (lambda: check_base(base, outline_base(base, compute)), lambda: load_base(base, compute)):
        with pytest.raises(ModelError, match=told) as raised:
            look()
        assert raised.value.code == "model/not-loaded"


def test_what_is_let_go_of_lies_in_memory_of_its_own_but_for_what_is_no_view() -> None:
    model = tiny.model()
    kept, packed = "model.embed_tokens.weight", nn.Parameter(torch.ones(4, dtype=torch.uint8), requires_grad=False)
    model.lm_head.register_parameter("packed", packed)
    before = {path: (weight.data_ptr(), weight.clone()) for path, weight in model.named_parameters()}
    let_go_of_files(model, {kept})
    for path, weight in model.named_parameters():
        place, value = before[path]
        assert torch.equal(weight, value)
        assert (weight.data_ptr() == place) == (path in (kept, "lm_head.packed")), path
