"""The device is readied for what the recipe asks of it, and only such are taken as can hold what is promised."""

import os
from collections.abc import Iterator

import pytest
import torch

from truing.config.sections import Compute
from truing.core.errors import RecipeError
from truing.kernels.precision import Precision
from truing.models import device
from truing.models.device import device_of, dtype_of, precision_of
from truing.processes import group

ALLOCATOR, ALLOCATOR_OF_CUDA, WORKSPACE = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (ALLOCATOR, ALLOCATOR_OF_CUDA, WORKSPACE):
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is put back
        monkeypatch.delenv(name)
    yield
    device_of(Compute())


@pytest.mark.parametrize("name", ["mps", "meta"])
def test_a_device_without_double_precision_or_that_nobody_tries_is_refused(name: str) -> None:
    with pytest.raises(
        RecipeError, match=rf"^compute\.device: {name} cannot be used here \(draws and sums need double"
    ):
        device_of(Compute(device=name))


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_more_processes_than_gpus_are_told_what_to_do(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = (
        (group, "size", 2),
        (group, "local_rank", 1),
        (torch.cuda, "is_available", 1),
        (torch.cuda, "device_count", 1),
    )
    told = "cuda:1 is for process 1 of this machine, and processes see 1 of its GPUs"
    with monkeypatch.context() as meanwhile:
        for place, name, value in there:
            meanwhile.setattr(place, name, lambda value=value: value)
        with pytest.raises(RecipeError, match=told, check=lambda error: error.code == "recipe/fewer-gpus"):
            device_of(Compute(device=asked))


def test_deterministic_operations_are_asked_for_before_cuda_starts_and_no_longer_than_that() -> None:
    device_of(Compute(deterministic=True))
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ[WORKSPACE] == ":4096:8"
    device_of(Compute())
    assert not torch.are_deterministic_algorithms_enabled()


def test_single_precision_is_single_precision() -> None:
    torch.set_float32_matmul_precision("high")
    device_of(Compute())
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_allocator_is_set_where_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    device_of(Compute())
    assert os.environ[ALLOCATOR] == "expandable_segments:True"
    assert WORKSPACE not in os.environ
    monkeypatch.delenv(ALLOCATOR)
    monkeypatch.setenv(ALLOCATOR_OF_CUDA, "max_split_size_mb:64")
    device_of(Compute())
    assert ALLOCATOR not in os.environ


def test_what_is_computed_in_goes_by_the_device_where_it_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dtype_of(Compute()) == "float32"
    monkeypatch.setattr(device, "device_of", lambda _: torch.device("cuda", 0))
    for has_it, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation, has=has_it: has)
        assert dtype_of(Compute()) == expected
        assert dtype_of(Compute(dtype="float32")) == "float32"
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    assert precision_of(Compute(), trains=True) == Precision(torch.float32, torch.bfloat16)
