"""A fused layer of a frozen base in bfloat16 is no further from the truth than the library's with PEFT's adapter."""

from collections.abc import Sequence
from copy import deepcopy
from statistics import mean
from typing import Any

import one_dnn
import pytest
import torch
from kernels.documented_attention import row_by_row
from kernels.random_model import families, random_model
from torch import Tensor
from transformers import PreTrainedModel

from truing.config.sections import Lora
from truing.kernels import fused_layer, packed_rows, products
from truing.kernels.backend import Backend, choose_backend
from truing.kernels.checkpointing import checkpoint_layers
from truing.kernels.packed_rows import hidden_varlen
from truing.kernels.precision import Precision, rounding
from truing.kernels.projections import Projection, project
from truing.models.adapters import Adapters
from truing.models.prefix import frozen_prefix_of
from truing.models.roles import Role

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 192,
    "intermediate_size": 320,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,
}
FAMILIES = families(head_dim=32, **SIZES)
HALF = torch.bfloat16
NARROW, CPU, CUDA = Precision.of("bfloat16", trains=False), torch.device("cpu"), torch.device("cuda")
TOKENS = torch.randint(0, 60, (4, 60), generator=torch.Generator().manual_seed(0))
WHOLE = torch.ones_like(TOKENS)
RAGGED = (torch.arange(60) < torch.tensor([60, 41, 7, 23])[:, None]).long()
NAMES = ("one", "two")


@pytest.fixture(autouse=True)
def as_a_gpu_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are fused however small they are, and rows of different lengths are read as PyTorch's kernel says."""
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", 1)
    monkeypatch.setattr(packed_rows, "varlen_attn", row_by_row)


def _base(family: str, draw: int = 0) -> PreTrainedModel:
    """In float32; what reads it sets how it attends in its config, which is its own."""
    model, draws = random_model(deepcopy(FAMILIES[family])), torch.Generator().manual_seed(draw)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + 0.3 * torch.randn(weight.shape, generator=draws))
    return model


def _adapted(model: PreTrainedModel, backend: Backend, targets: Any = "all-linear", above: int = 0) -> Role:
    """With two adapters, small beside what they are on."""
    adapters = Adapters(model, Lora(rank=4, alpha=10.0, targets=targets), 0, backend)
    for seed, name in enumerate(NAMES):
        adapters.add(name, above)
        draws = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in adapters.parameters(name):
                weight.add_(0.02 * torch.randn(weight.shape, generator=draws))
    return Role(model, adapters, "one", backend=backend, prefix=frozen_prefix_of(model, above) if above else None)


def _ours(model: PreTrainedModel, device: torch.device = CUDA, **others: Any) -> Role:
    backend = choose_backend(model, device, NARROW)
    backend.prepare(model)
    assert type(model.base_model.layers[0]).forward.__module__ == fused_layer.__name__
    return _adapted(model, backend, **others)


def _truth(model: PreTrainedModel, **others: Any) -> Role:
    role = _adapted(model.double(), Backend(), **others)
    role.model.double()
    return role


def _learnt(role: Role, mask: Tensor, name: str = "one") -> list[Tensor]:
    """Hidden states that are no padding, and the gradient of each factor of an adapter."""
    role = Role(role.model, role.adapters, name, backend=role.backend)
    role.select()
    hidden = role.hidden(TOKENS, mask)[mask.bool()]
    slopes = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(3)).to(HALF).to(hidden.dtype)
    return [hidden.detach(), *torch.autograd.grad(hidden, [*role.parameters()], slopes)]


def _wrong(found: list[Tensor], truth: list[Tensor]) -> float:
    """The error of all together, as a share of their norm."""
    parts = [(torch.dist(one.double(), true), true.norm()) for one, true in zip(found, truth, strict=True)]
    wrong, whole = (torch.stack(part).norm() for part in zip(*parts, strict=True))
    return float(wrong / whole)


Learnt = list[Tensor]


def _assert_as_near(trials: Sequence[tuple[Learnt, Learnt, Learnt]]) -> None:
    """Ours, the library's and the truth: the first are wrong by less than the second, on average of all trials."""
    assert all(one.dtype == torch.float32 for ours, *_ in trials for one in ours[1:])
    for part in (slice(1), slice(1, None)):  # hidden states, gradients
        shares = [_wrong(ours[part], truth[part]) / _wrong(theirs[part], truth[part]) for ours, theirs, truth in trials]
        assert mean(shares) <= 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mask", [WHOLE, RAGGED], ids=["whole", "ragged"])
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_no_further_from_the_truth_than_the_librarys_layers(family: str, mask: Tensor, device: torch.device) -> None:
    trials = []
    for draw in range(3):
        model = _base(family, draw).to(HALF)
        theirs, truth = _adapted(deepcopy(model), Backend()), _truth(deepcopy(model))
        trials.append((_learnt(_ours(model, device), mask), _learnt(theirs, mask), _learnt(truth, mask)))
    _assert_as_near(trials)


def test_adapters_take_turns_and_may_be_on_some_layers_alone() -> None:
    model, some = _base("llama").to(HALF), {"targets": ["q_proj", "v_proj", "up_proj"]}
    roles = _ours(deepcopy(model), **some), _adapted(deepcopy(model), Backend(), **some), _truth(model, **some)
    found = {name: [_learnt(role, RAGGED, name) for role in roles] for name in NAMES}
    for ours, theirs, truth in found.values():
        _assert_as_near([(ours, theirs, truth)])
    for one, again in zip(found["one"][0], _learnt(roles[0], RAGGED, "one"), strict=True):
        assert torch.equal(one, again)


def test_layers_that_run_again_give_the_same_bits() -> None:
    model = _base("qwen2").to(HALF)
    again = deepcopy(model)
    backend = choose_backend(again, CUDA, NARROW)
    backend.prepare(again)
    checkpoint_layers(again)
    for one, other in zip(_learnt(_ours(model), RAGGED), _learnt(_adapted(again, backend), RAGGED), strict=True):
        assert torch.equal(one, other)


def test_a_frozen_prefix_is_seen_and_skipped() -> None:
    role = _ours(_base("llama").to(HALF), above=1)
    assert role.backend.hidden is hidden_varlen
    assert role.prefix is not None
    with torch.no_grad(), role.prefix.capture() as states:
        role.hidden(TOKENS, WHOLE)
    assert torch.equal(role.hidden(TOKENS, WHOLE, states[0]), role.hidden(TOKENS, WHOLE))
    found, expected = (role.hidden(TOKENS, RAGGED, known)[RAGGED.bool()] for known in (states[0], None))
    assert torch.dist(found, expected) <= rounding(HALF) * expected.norm()
    other = role.hidden(TOKENS, RAGGED, states[0] + 1)[RAGGED.bool()]
    assert torch.dist(other, expected) > rounding(HALF) * expected.norm()


@pytest.mark.parametrize("rows", [1, 1000])
def test_an_adapter_is_never_merged_into_narrow_weights(rows: int) -> None:
    """However many rows there are: 1 + 2⁻¹⁰ is 1 in bfloat16. The weight alone gives 0 here."""
    one = torch.tensor([[1.0, -1.0]], dtype=HALF)
    adapted = Projection(torch.ones(3, 2, dtype=HALF), None, one * 2**-10, torch.ones(3, 1, dtype=HALF), 2.0)
    (out,), _ = project(one.expand(rows, 2), [adapted])
    assert torch.equal(out, torch.full((rows, 3), 2**-8, dtype=HALF))


@pytest.mark.parametrize("tall", [0, 1000], ids=["merged", "beside"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_computes_float32_in_the_same_layers(family: str, tall: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By PyTorch's own products, which are as if oneDNN were not there."""
    monkeypatch.setattr(products, "TALL", tall)
    monkeypatch.setattr(products, "by_one_dnn", lambda _: False)
    one_dnn.computes_everything(monkeypatch)
    model = _base(family)
    theirs = _adapted(deepcopy(model), Backend())
    backend = choose_backend(model, CUDA, Precision())
    backend.prepare(model)
    for found, expected in zip(_learnt(_adapted(model, backend), RAGGED), _learnt(theirs, RAGGED), strict=True):
        assert torch.dist(found, expected) <= 1e-5 * expected.norm()
