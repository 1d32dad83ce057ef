"""Which GPU a process takes as it meets the others, and what is set by then."""

import os

import pytest
import torch

from truing.core.device_memory import ALLOCATOR, ALLOCATOR_OF_CUDA
from truing.processes import meeting


@pytest.mark.parametrize(("gpus", "taken"), [(2, [1]), (1, [])])
def test_a_process_takes_its_own_gpu_where_there_is_one(
    gpus: int, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes: with one GPU, they are to compute on the CPU, or the device is refused by its name."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    for name in (ALLOCATOR, ALLOCATOR_OF_CUDA):
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is put back
        monkeypatch.delenv(name)
    said: list[int] = []

    def set_device(number: int) -> None:
        assert os.environ[ALLOCATOR] == "expandable_segments:True"  # CUDA starts here, and reads it
        said.append(number)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    meeting._take_own_gpu()
    assert said == taken
