"""What goes to a device, and what is there already."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from truing.core.transfer import to_device

GPU = torch.device("cuda", 0)


class Recorded:
    """A tensor that does as PyTorch's do: one of a device cannot be pinned."""

    def __init__(self, device: str) -> None:
        self.device, self.is_pinned = torch.device(device), False

    def pin_memory(self) -> "Recorded":
        if self.device.type != "cpu":
            raise RuntimeError("only dense CPU tensors can be pinned")
        self.is_pinned = True
        return self

    def to(self, device: torch.device, non_blocking: bool) -> Any:
        return SimpleNamespace(device=device, from_pinned=self.is_pinned, non_blocking=non_blocking)


@pytest.mark.parametrize(("device", "is_pinned"), [("cpu", True), ("cuda:0", False)])
def test_what_a_gpu_gets_is_pinned_on_the_host_and_nowhere_else(device: str, is_pinned: bool) -> None:
    recorded: Any = Recorded(device)
    there: Any = to_device(recorded, GPU)
    assert (there.device, there.from_pinned, there.non_blocking) == (GPU, is_pinned, True)


def test_a_cpu_keeps_what_it_has() -> None:
    numbers = torch.arange(3)
    assert to_device(numbers, torch.device("cpu")) is numbers
