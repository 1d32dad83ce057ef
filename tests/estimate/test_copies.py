"""Copies are as the base in all but their number of layers, and figures of the whole follow from theirs."""

from pathlib import Path

import pytest
import tiny
import torch
from architectures import figures
from architectures.families import DENSE, HYBRID
from transformers import AutoModelForCausalLM, Gemma2Config, PreTrainedModel

from truing.config.sections import Base, Compute
from truing.core.errors import ModelError
from truing.estimate.copies import Depth, bytes_of_copy, depth_of, depths_to_try, extrapolated, write_copy
from truing.kernels.backbone import decoder_layers
from truing.models.load import load_base, outline_base
from truing.models.prefix import prefix_depth

KINDS = {name: (DENSE | HYBRID)[name] for name in ("llama", "qwen2", "qwen3", "mistral", "gpt2", "mamba2")}


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_a_copy_has_fewer_layers_of_the_same_size_and_the_same_tokenizer(shape: str, tmp_path: Path) -> None:
    source = Base(path=str(tiny.directory(tmp_path / "whole", shape)))
    outline = outline_base(source, Compute())
    write_copy(outline, source, 1, tmp_path / "copy")
    whole, copy = load_base(source, Compute()), load_base(Base(path=str(tmp_path / "copy")), Compute())
    sizes, of_copy = ({name: part.shape for name, part in one.model.named_parameters()} for one in (whole, copy))
    assert of_copy.items() < sizes.items()
    assert bytes_of_copy(outline.model, 1) == sum(weight.nbytes for weight in copy.model.parameters())
    assert bytes_of_copy(outline.model, 2) == sum(weight.nbytes for weight in whole.model.parameters())
    assert depth_of(copy.model, 1.0) == Depth(0, 1)
    assert copy.tokenizer.get_vocab() == whole.tokenizer.get_vocab()


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_a_copy_lacks_the_embeddings_that_its_base_lacks(shape: str, tmp_path: Path) -> None:
    source = tiny.chat_recipe(tmp_path, shape).base
    assert source is not None
    write_copy(outline_base(source, Compute()), source, 1, tmp_path / "copy")
    whole, copy = load_base(source, Compute()), load_base(Base(path=str(tmp_path / "copy")), Compute())
    assert copy.new_rows == whole.new_rows
    assert len(copy.new_rows) >= 2
    assert copy.tokenizer.pad_token_id == copy.model.config.pad_token_id == whole.tokenizer.pad_token_id


def test_the_kinds_of_the_layers_are_cut_with_them(tmp_path: Path) -> None:
    source = Base(path=str(tiny.directory(tmp_path / "whole", "gemma")))
    outline = outline_base(source, Compute())
    assert isinstance(outline.model.config, Gemma2Config)
    assert len(outline.model.config.layer_types) == 2
    write_copy(outline, source, 1, tmp_path / "copy")
    copy = load_base(Base(path=str(tmp_path / "copy")), Compute())
    assert copy.model.config.layer_types == outline.model.config.layer_types[:1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_drawn_as_the_library_draws_them(kind: str, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        figures.write_model(kind, KINDS[kind], tmp_path / "whole")
    source = Base(path=str(tmp_path / "whole"))
    write_copy(outline_base(source, Compute()), source, 1, tmp_path / "copy")
    copy = AutoModelForCausalLM.from_pretrained(tmp_path / "copy", trust_remote_code=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        other = AutoModelForCausalLM.from_config(copy.config, trust_remote_code=False)
    for (name, ours), (_, theirs) in zip(copy.named_parameters(), other.named_parameters(), strict=True):
        size, drawn = float(ours.abs().mean()), float(theirs.abs().mean())
        assert drawn / 3 <= size <= 3 * drawn, name  # some have eight numbers


def test_writing_a_copy_draws_no_random_number_of_ours(tmp_path: Path) -> None:
    source = Base(path=str(tiny.directory(tmp_path / "whole")))
    before = torch.get_rng_state()
    write_copy(outline_base(source, Compute()), source, 1, tmp_path / "copy")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("whole", "depths"),
    [
        (Depth(0, 3), [Depth(0, 3)]),
        (Depth(0, 30), [Depth(0, 1), Depth(0, 3)]),
        (Depth(20, 10), [Depth(1, 1), Depth(3, 1), Depth(1, 3)]),
        (Depth(1, 10), [Depth(1, 1), Depth(1, 3)]),
        (Depth(10, 2), [Depth(1, 1), Depth(3, 1), Depth(1, 2)]),
    ],
)
def test_what_is_measured_at_these_depths_tells_of_the_whole(whole: Depth, depths: list[Depth]) -> None:
    assert depths_to_try(whole) == depths

    def figure(depth: Depth) -> float:
        return 100 + 3 * depth.below + 7 * depth.above

    assert extrapolated(whole, {depth: figure(depth) for depth in depths}) == pytest.approx(figure(whole))


def test_a_measurement_that_was_disturbed_bounds_the_whole_from_below() -> None:
    assert extrapolated(Depth(0, 30), {Depth(0, 1): 5.0, Depth(0, 3): 4.0}) == 5.0


@pytest.mark.parametrize("depth", [Depth(1, 1), Depth(3, 1), Depth(1, 3), Depth(0, 1), Depth(0, 3)])
def test_a_copy_adapts_as_many_layers_as_its_depth_says(depth: Depth) -> None:
    config = tiny.model().config
    config.num_hidden_layers = depth.layers
    model = type(tiny.model())(config)
    assert prefix_depth(model, depth.adapted) == depth.below


def test_layers_that_are_not_known_one_by_one_are_kept_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = Base(path=str(tiny.directory(tmp_path / "whole")))
    outline = outline_base(source, Compute())
    with monkeypatch.context() as unknown:
        unknown.setattr("truing.estimate.copies.decoder_layers", lambda _: None)
        unknown.setattr("truing.kernels.backbone.decoder_layers", lambda _: None)
        assert depth_of(outline.model, 1.0) == Depth(0, 1)
        with pytest.raises(ModelError, match="not one list"):
            depth_of(outline.model, 0.5)
        write_copy(outline, source, 1, tmp_path / "copy")
    copy: PreTrainedModel = load_base(Base(path=str(tmp_path / "copy")), Compute()).model
    found = decoder_layers(copy)
    assert found is not None
    assert len(found[1]) == 2
