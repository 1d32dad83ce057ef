"""Each architecture is read in the fastest way that gives every row its own logits, or refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from architectures import figures
from architectures.families import FAMILIES
from torch import Tensor
from transformers import AutoModelForCausalLM, CohereConfig, GraniteConfig, MptConfig

from truing.config.sections import Base, Compute
from truing.core.errors import ModelError
from truing.kernels.backbone import hidden_padded
from truing.kernels.backend import Backend
from truing.kernels.text_config import logit_transforms
from truing.kernels.vocabulary import LogitTransform
from truing.models import exactness
from truing.models.exactness import check_causal, exact_backend
from truing.models.load import load_base
from truing.models.roles import Role

SIZES = {name: sizes for family in FAMILIES.values() for name, sizes in family.items()}
REPRESENTATIVE = ("granite", "cohere", "hyperclovax", "gemma3", "lfm2", "bamba", "zamba2", "rwkv", "xlstm", "mixtral")
"""Scales of every kind, a composite, recurrent states with and without exact caches, and experts"""


def _written(name: str, place: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        figures.write_model(name, SIZES[name], place)
    return place


@pytest.mark.filterwarnings("ignore")  # of the library's own models
@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_what_is_sampled_scored_learnt_and_saved_is_the_librarys(name: str, tmp_path: Path) -> None:
    assert figures.figures_of(_written(name, tmp_path)).largest <= 1e-4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "pads", "caches"), [("lfm2", True, True), ("zamba2", True, False), ("rwkv", False, False)]
)
def test_the_way_is_the_fastest_that_is_exact_and_told_where_it_is_slow(
    name: str, pads: bool, caches: bool, tmp_path: Path
) -> None:
    base = load_base(Base(path=str(_written(name, tmp_path))), Compute(device="cpu"))
    assert (base.backend.pads, base.backend.caches) == (pads, caches)
    assert (len(base.notes) == 0) == (pads and caches)


@pytest.mark.filterwarnings("ignore")
def test_logits_that_are_made_otherwise_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="makes its logits in a way") as raised:
        load_base(Base(path=str(_written("modernbert-decoder", tmp_path))), Compute(device="cpu"))
    assert raised.value.problem.code == "model/logits-changed"


def test_a_model_that_reads_the_answers_is_refused(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(_written("bert", tmp_path))
    with pytest.raises(ModelError, match="no causal language model"):
        check_causal(model)


def test_a_faster_way_that_is_not_exact_is_left_for_the_mask_of_padding_and_told() -> None:
    def off(*of_rows: Any) -> Tensor:
        hidden = hidden_padded(*of_rows)
        return hidden + (0.0 if bool(of_rows[2].all()) else 1.0)

    model = tiny.model()
    backend, notes = exact_backend(model, Backend(hidden=off), len(tiny.LETTERS) + 1)
    assert backend.hidden is hidden_padded
    assert notes == ["LlamaForCausalLM needs its mask of padding, so it learns with slower attention."]
    assert exact_backend(model, Backend(), len(tiny.LETTERS) + 1)[1] == []


def test_want_of_memory_is_no_fault_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(exactness, "Decoder", greedy)
    with pytest.raises(torch.OutOfMemoryError):
        exact_backend(tiny.model(), Backend(), len(tiny.LETTERS) + 1)


def test_rounding_in_bfloat16_is_no_look_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model().to(torch.bfloat16)
    forward, other_kernel = model.forward, torch.tensor([[[1.0]], [[1 - 2**-8]]])  # one unit in the last place
    monkeypatch.setattr(model, "forward", lambda tokens: SimpleNamespace(logits=forward(tokens).logits * other_kernel))
    check_causal(model)
    with pytest.raises(ModelError, match="no causal language model"):
        check_causal(model.float())


@pytest.mark.parametrize(
    ("config", "likeliest"),
    [
        (GraniteConfig(logits_scaling=8.0), LogitTransform(1 / 8)),
        (CohereConfig(logit_scale=0.25), LogitTransform(0.25)),
        (MptConfig(), LogitTransform()),
    ],
)
def test_what_a_config_names_is_tried_first_and_nothing_last(config: object, likeliest: LogitTransform) -> None:
    model = type("Model", (), {"config": config})()
    transforms = logit_transforms(model)  # type: ignore[arg-type]
    assert transforms[0] == likeliest
    assert transforms[-1] == LogitTransform()


def test_a_scaled_logit_has_the_gradient_of_its_formula() -> None:
    transform = LogitTransform(0.5, cap=2.0)
    logits = torch.linspace(-6, 6, 7, dtype=torch.float64).requires_grad_()
    own = 2.0 * torch.tanh(0.5 * logits / 2.0)
    torch.testing.assert_close(transform(logits), own)
    (slope,) = torch.autograd.grad(own.sum(), logits)
    torch.testing.assert_close(transform.times_slope_(torch.ones_like(logits), own.detach()), slope)


def test_what_was_found_stands_above_what_the_config_names() -> None:
    model = tiny.model("gemma")
    assert Role(model).transform.cap == 30.0
    assert Role(model, backend=Backend(transform=LogitTransform())).transform == LogitTransform()
