"""From the host to the device that computes."""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, without waiting for what that has to do before; one that is there stays."""
    if device.type == "cuda" and tensor.device.type == "cpu":  # from other memory, it would be copied to such first
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def integers(numbers: Sequence[int] | Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Whole numbers on a device, likewise."""
    return to_device(torch.tensor(numbers, dtype=torch.int64), device)
