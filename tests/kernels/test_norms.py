"""Root mean square norms in float32 inside, on a CPU and as PyTorch's kernels for GPUs are documented."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._decomp.decompositions import _fused_rms_norm_backward
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from truing.kernels import norms
from truing.kernels.norms import norm_of_heads, rms_norm, rms_norm_again, rms_norm_gradients

EPSILON = 1e-3
HALF = torch.bfloat16


@pytest.fixture(params=["cpu", "kernels"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With kernels, by what PyTorch writes out for devices that have none for the backward."""
    if request.param == "kernels":
        forward = torch.ops.aten._fused_rms_norm
        kernels = SimpleNamespace(_fused_rms_norm=forward, _fused_rms_norm_backward=_fused_rms_norm_backward)
        monkeypatch.setattr(norms, "aten", kernels)
        monkeypatch.setattr(norms, "has_kernel", lambda _: True)
    return str(request.param)


def _random(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _normed(states: Tensor, weight: Tensor) -> np.ndarray:
    rows = states.double().numpy()
    length: np.ndarray = np.sqrt((rows**2).mean(-1, keepdims=True) + EPSILON)
    return rows / length * weight.double().numpy()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, HALF])
def test_a_norm_is_that_of_the_paper_rounded_once(dtype: torch.dtype) -> None:
    """In bfloat16 the next number may be the nearer one only where float32 does not tell."""
    states, weight = 3 * _random(50, 40, dtype=dtype), 1 + _random(40, dtype=dtype, seed=1)
    rows, inverse = rms_norm(states, weight, EPSILON)
    truth = torch.from_numpy(_normed(states, weight))
    torch.testing.assert_close(rows.double(), truth, atol=1e-6 if dtype != HALF else 0.0, rtol=torch.finfo(dtype).eps)
    assert (rows != truth.to(dtype)).double().mean() < 0.01 or dtype != HALF
    assert inverse.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(rms_norm_again(states, weight, EPSILON, inverse), rows)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, HALF])
def test_gradients_are_those_that_autograd_finds_in_float64(dtype: torch.dtype) -> None:
    states, weight = _random(30, 20, dtype=dtype), _random(20, dtype=dtype, seed=1)
    slopes = _random(30, 20, dtype=dtype, seed=2)
    wide, of = states.double().requires_grad_(), weight.double().requires_grad_()
    normed = wide / (wide.square().mean(-1, keepdim=True) + EPSILON).sqrt() * of
    expected = torch.autograd.grad(normed, [wide, of], slopes.double())
    _, inverse = rms_norm(states, weight, EPSILON)
    alone, nothing = rms_norm_gradients(slopes.clone(), states, weight, inverse, weight_learns=False)
    assert nothing is None
    found = rms_norm_gradients(slopes, states, weight, inverse, weight_learns=True)
    assert torch.equal(alone, found[0])
    for one, true in zip(found, expected, strict=True):
        assert one is not None
        assert one.dtype == dtype
        assert torch.dist(one.double(), true) <= max(1e-6, torch.finfo(dtype).eps / 2) * true.norm()


@pytest.mark.usefixtures("way")
def test_norms_of_heads_are_the_librarys() -> None:
    norm = LlamaRMSNorm(8, eps=EPSILON)
    norm.weight.data = 1 + _random(8, dtype=torch.float32)
    heads = _random(2, 5, 3, 8, dtype=torch.float32, seed=1)
    torch.testing.assert_close(norm_of_heads(norm, heads), norm(heads), atol=1e-6, rtol=1e-6)


def test_a_torch_without_the_kernels_computes_a_norm_as_a_cpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu: Any = SimpleNamespace(device=torch.device("cuda"))
    assert norms.has_kernel(on_gpu)
    for name in norms.KERNELS:
        lacking = {other: getattr(torch.ops.aten, other) for other in norms.KERNELS if other != name}
        monkeypatch.setattr(norms, "aten", SimpleNamespace(**lacking))
        assert not norms.has_kernel(on_gpu)
