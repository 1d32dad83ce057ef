"""The device that a recipe names, readied for its work, and the numbers that are computed in there."""

import os
from pathlib import Path
from typing import Literal

import torch

from truing.config.sections import Compute
from truing.core.device_memory import have_blocks_grow
from truing.core.errors import RecipeError, first_line
from truing.kernels.precision import Precision
from truing.processes import group, started

SUPPORTED = ("cpu", "cuda")
WORKSPACE, AS_MANY = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""Buffers that products add up in, as many and as large at each call; without it deterministic products are refused"""
DRIVER = Path("/proc/driver/nvidia/version")
"""Where a machine has a driver for NVIDIA's GPUs"""
A_GPU_EACH = "Start as many processes as there are GPUs, each of which sees all or its own, or set it to cpu."


def device_of(compute: Compute) -> torch.device:
    """The device the recipe names, ready for it; for auto, CUDA where there is one, else the CPU.

    Products of float32 are computed in float32 (TF32 would keep 10 of its 23 bits), and those of bfloat16 are added up
    in float32. Attention is none of cuDNN's, which makes a plan for each new shape, as batches have ever others.

    Raises:
        RecipeError: it is of no kind that is supported, this machine has none, or several processes would share one.
    """
    _set_environment(compute)
    torch.use_deterministic_algorithms(compute.deterministic)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.enable_cudnn_sdp(False)
    kind = compute.device
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    name = kind
    if kind.startswith("cuda") and group.size() > 1:
        name = _own_of(kind)
    try:
        device = torch.device(name)
        if device.type not in SUPPORTED:
            raise _refusal(name, "draws and sums need double precision, and other devices are not tried")
        device = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was compiled with CUDA
        raise _refusal(name, first_line(error)) from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
        _refuse_shared(device)
    return device


def _own_of(kind: str) -> str:
    """The name of the GPU that this process takes, one of several. RecipeError where it sees none for itself."""
    if kind != "cuda":
        what = f"{kind} is one GPU, and {group.size()} processes take one each."
        raise RecipeError(what, code="recipe/one-gpu", where="compute.device", hint="Set it to auto or cuda.")
    seen = torch.cuda.device_count()
    name = f"cuda:{started.own_gpu(seen)}"
    if torch.cuda.is_available() and started.own_gpu(seen) >= seen:
        what = f"{name} is for process {started.local_rank()} of this machine, and processes see {seen} of its GPUs."
        raise RecipeError(what, code="recipe/fewer-gpus", where="compute.device", hint=A_GPU_EACH)
    return name


def _refuse_shared(gpu: torch.device) -> None:
    """RecipeError where another process has said before that it takes the same."""
    if group.size() == 1:
        return
    first = group.first_to_say(f"gpu {torch.cuda.get_device_properties(gpu).uuid}")
    if first != group.rank():
        what = f"process {group.rank()} would share a GPU with process {first}: each takes one of its own."
        raise RecipeError(what, code="recipe/shared-gpu", where="compute.device", hint=A_GPU_EACH)


def unused_gpu(compute: Compute) -> list[str]:
    """A sentence where the machine has GPUs that PyTorch cannot use, which takes the CPU then and says nothing."""
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if compute.device != "auto" or is_hidden or torch.cuda.is_available() or not DRIVER.exists():
        return []
    return [f"this machine has a driver of NVIDIA's, and PyTorch finds no GPU ({_why_none()}): the CPU computes"]


def _why_none() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        return first_line(error)
    return "none is given to this process"


def _set_environment(compute: Compute) -> None:
    """What CUDA reads as it starts, where nobody has set it otherwise."""
    have_blocks_grow()
    if compute.deterministic:
        os.environ.setdefault(WORKSPACE, AS_MANY)


def _refusal(name: str, why: str) -> RecipeError:
    hint = "Set it to auto or cpu."
    return RecipeError(
        f"{name} cannot be used here ({why}).", code="recipe/no-such-device", where="compute.device", hint=hint
    )


def dtype_of(compute: Compute) -> Literal["float32", "bfloat16"]:
    """That of frozen weights and activations; for auto, bfloat16 on a GPU that computes in it, else float32.

    Raises:
        RecipeError: the device cannot be used.
    """
    if compute.dtype != "auto":
        return compute.dtype
    narrow = device_of(compute).type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if narrow else "float32"


def precision_of(compute: Compute, trains: bool) -> Precision:
    """Of a model that trains in all its weights, or is frozen."""
    return Precision.of(dtype_of(compute), trains)


def gpu_memory(device: torch.device) -> int | None:
    """Bytes that a GPU has; None of another device."""
    return int(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else None


def least_gpu_memory(device: torch.device) -> int | None:
    """Of the smallest GPU that one of the processes has, all of which come here."""
    found = [memory for memory in group.all_gather(gpu_memory(device)) if memory is not None]
    return min(found, default=None)
