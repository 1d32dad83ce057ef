"""The one choice of how a model is computed: by device, precision and family, and by nothing else."""

from typing import Any

import one_dnn
import pytest
import tiny
import torch
from transformers import PreTrainedModel

from truing.core.batches import Sequences
from truing.kernels import packed_rows
from truing.kernels.backbone import hidden_padded
from truing.kernels.backend import Backend, choose_backend
from truing.kernels.cpu.linear import OneDnnLinear
from truing.kernels.packed_rows import hidden_causal
from truing.kernels.precision import Precision
from truing.models.load import prepare
from truing.models.roles import Role
from truing.models.scoring import forward_in_micro_batches, response_logprobs

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LENGTHS = [9, 2, 5, 3]


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gains with large weights is used for small ones too."""
    monkeypatch.setattr(packed_rows, "MIN_LAYER_WEIGHTS", 1)
    one_dnn.computes_everything(monkeypatch)


def _packs(backend: Backend) -> bool:
    """Whether rows of different lengths cost no padding: 19 tokens fit where 4 rows of 9 would not."""
    return backend.micro_batches(LENGTHS, sum(LENGTHS)) == [[0, 2, 3, 1]]


@pytest.mark.parametrize(
    ("shape", "changes", "packs"),
    [
        ("llama", {}, True),
        ("llama", {"_attn_implementation": "eager"}, False),
        ("llama", {"sliding_window": 8}, False),
        ("gpt2", {}, False),
        ("gemma", {}, False),
    ],
)
@pytest.mark.usefixtures("any_size")
def test_a_cpu_packs_rows_of_known_models_with_plain_attention(
    shape: str, changes: dict[str, Any], packs: bool
) -> None:
    model = tiny.model(shape)
    for name, value in changes.items():
        setattr(model.config, name, value)
    assert _packs(choose_backend(model, CPU, Precision())) == packs
    assert not _packs(choose_backend(model, CUDA, Precision()))


def test_small_models_are_padded_and_known_ones_need_no_mask_of_it() -> None:
    backend = choose_backend(tiny.model(), CPU, Precision())
    assert not _packs(backend)
    assert backend.hidden is hidden_causal
    assert choose_backend(tiny.model("gpt2"), CPU, Precision()).hidden is hidden_padded


def _fast_layers(model: PreTrainedModel, precision: Precision) -> bool:
    prepare(model, precision)
    return any(isinstance(layer, OneDnnLinear) for layer in model.modules())


@pytest.mark.usefixtures("any_size")
def test_fast_layers_are_for_what_is_computed_in_float32() -> None:
    assert _fast_layers(tiny.model(), Precision())
    assert not _fast_layers(tiny.model().bfloat16(), Precision.of("bfloat16", trains=False))
    assert not _fast_layers(tiny.model(), Precision.of("bfloat16", trains=True))
    outline = tiny.model().to("meta")
    choose_backend(outline, CUDA, Precision()).prepare(outline)
    assert not any(isinstance(layer, OneDnnLinear) for layer in outline.modules())


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_every_backend_gives_the_same_numbers(shape: str) -> None:
    batch = Sequences.collate([[1, 2, 3], [4], [5, 6]], [[9, 12], [10, 11, 12, 13], [14, 2]], len(tiny.LETTERS) + 1)
    plain, model = Role(tiny.model(shape)), tiny.model(shape)
    fast = Role(model, backend=prepare(model, Precision()))
    gradients = []
    for role in (plain, fast):
        role.model.requires_grad_(True)
        response_logprobs(role, batch, temperature=0.7).square().sum().backward()
        gradients.append({path: weight.grad for path, weight in role.named_parameters().items()})
    for path, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][path], gradient, atol=1e-4, rtol=1e-3)
    (ours,), (theirs,) = (
        forward_in_micro_batches(role, batch, 8, lambda rows, _, role=role: (response_logprobs(role, rows),))
        for role in (fast, plain)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
