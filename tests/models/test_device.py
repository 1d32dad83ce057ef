"""The device is readied for what the recipe asks of it, and only such are taken as can hold what is promised."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from truing.config.sections import Compute
from truing.core.errors import RecipeError
from truing.kernels.precision import Precision
from truing.models import device
from truing.models.device import device_of, dtype_of, precision_of
from truing.processes import group, started

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


@contextmanager
def _processes(local_rank: int, gpus: int) -> Iterator[None]:
    """Inside, this is one of several, that sees so many GPUs."""
    there = (
        (group, "size", 4),
        (group, "rank", 4 + local_rank),
        (started, "local_rank", local_rank),
        (torch.cuda, "is_available", True),
        (torch.cuda, "device_count", gpus),
    )
    with pytest.MonkeyPatch.context() as meanwhile:
        for place, name, value in there:
            meanwhile.setattr(place, name, lambda value=value: value)
        yield


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_more_processes_than_gpus_are_told_what_to_do(asked: str) -> None:
    told = "cuda:3 is for process 3 of this machine, and processes see 2 of its GPUs"
    refused = pytest.raises(RecipeError, match=told, check=lambda error: error.code == "recipe/fewer-gpus")
    with _processes(local_rank=3, gpus=2), refused:
        device_of(Compute(device=asked))


def test_one_gpu_named_for_several_processes_is_refused() -> None:
    told = "^compute.device: cuda:1 is one GPU, and 4 processes take one each"
    refused = pytest.raises(RecipeError, match=told, check=lambda error: error.code == "recipe/one-gpu")
    with _processes(local_rank=0, gpus=4), refused:
        device_of(Compute(device="cuda:1"))


@pytest.mark.parametrize(("local_rank", "gpus", "own"), [(3, 8, "cuda:3"), (3, 1, "cuda:0"), (0, 1, "cuda:0")])
def test_a_process_takes_its_own_gpu_or_the_only_one_that_a_scheduler_shows_it(
    local_rank: int, gpus: int, own: str
) -> None:
    with _processes(local_rank, gpus):
        assert device._own_of("cuda") == own


def test_a_gpu_that_another_process_has_taken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own number, which is another's on another machine, and the same to all that see it."""
    taken: dict[str, int] = {}

    def first_to_say(what: str) -> int:
        return taken.setdefault(what, group.rank())

    monkeypatch.setattr(group, "first_to_say", first_to_say)
    uuids = iter(["GPU-a", "GPU-b", "GPU-a", "GPU-b"])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid=next(uuids)))
    gpu = torch.device("cuda", 0)
    for local_rank in (0, 1, 0):  # the first asks again for each model that it loads
        with _processes(local_rank, gpus=1):
            device._refuse_shared(gpu)
    told = "process 6 would share a GPU with process 5"
    refused = pytest.raises(RecipeError, match=told, check=lambda error: error.code == "recipe/shared-gpu")
    with _processes(local_rank=2, gpus=1), refused:
        device._refuse_shared(gpu)


def test_attention_is_none_of_cudnns_which_plans_anew_for_each_shape() -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    device_of(Compute())
    assert not torch.backends.cuda.cudnn_sdp_enabled()


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


DRIVERS = "this machine has a driver of NVIDIA's, and PyTorch finds no GPU ({}): the CPU computes"


def test_a_gpu_that_is_there_and_not_used_is_told_with_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device.unused_gpu(Compute()) == []
    device.DRIVER.touch()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert device.unused_gpu(Compute()) == [DRIVERS.format(f"torch {torch.__version__} is built without CUDA")]

    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nUpdate it.")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", init)
    assert device.unused_gpu(Compute()) == [
        DRIVERS.format("The NVIDIA driver on your system is too old (found version 11040)")
    ]
    assert device.unused_gpu(Compute(device="cpu")) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.unused_gpu(Compute()) == []
