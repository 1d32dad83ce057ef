"""From the host to the device that computes."""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(host: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, without waiting for what that has to do before."""
    if device.type == "cuda":  # from other memory, it would be copied to such first
        host = host.pin_memory()
    return host.to(device, non_blocking=True)


def integers(numbers: Sequence[int] | Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Whole numbers on a device, likewise."""
    return to_device(torch.tensor(numbers, dtype=torch.int64), device)
