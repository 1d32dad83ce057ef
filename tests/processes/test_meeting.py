"""Which GPU a process takes as it meets the others, what is set by then, and how long it waits for them."""

import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from processes.several import in_ranks

from truing.core.device_memory import ALLOCATOR, ALLOCATOR_OF_CUDA
from truing.core.errors import ProcessesError
from truing.processes import meeting


@pytest.mark.parametrize(("gpus", "taken"), [(4, [2]), (2, []), (1, [0])])
def test_a_process_takes_its_own_gpu_where_there_is_one(
    gpus: int, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third of four. With two GPUs, they are to compute on the CPU, or the device is refused by its name; the only
    one may be another for each process, as a scheduler shows it.
    """
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "2", "MASTER_ADDR": "127.0.0.1"}.items():
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


PATIENCES = """
from datetime import timedelta
import torch
from torch import distributed
from truing.processes import group
from truing.processes.meeting import reach_each_other

with group.joined(tensor=2):
    peers = group._peers
    whole = distributed.distributed_c10d._get_default_group()
    groups = [whole, *peers._mesh("cpu").get_all_groups()]
    waits = {one._get_backend(torch.device("cpu")).options._timeout for one in groups}
    firsts = group.first_to_say("mine"), group.first_to_say("mine"), group.first_to_say(f"of {group.rank()}")
    reach_each_other(torch.device("cpu"))
    if group.rank() == 0:
        print(len(groups), waits == {timedelta(days=1)})
    told = group.all_gather(firsts)
    if group.rank() == 0:
        print(len({first for first, _, _ in told}), all(a == b for a, b, _ in told), [own for _, _, own in told])
"""


@pytest.mark.long
def test_all_groups_are_as_patient_as_that_of_all_and_one_process_is_the_first_to_say_something(tmp_path: Path) -> None:
    """PyTorch would end a new group's waiting after half an hour: the others wait for an owner that asks people."""
    assert in_ranks(PATIENCES, tmp_path, 2).splitlines() == ["4 True", "1 True [0, 1]"]


def test_what_goes_by_nccl_is_waited_for_an_hour() -> None:
    """Beside gloo, in one group, and whatever PyTorch has for new ones."""
    said: dict[str, float] = {}

    def backend(device: torch.device) -> SimpleNamespace:
        name = "nccl" if device.type == "cuda" else "gloo"
        return SimpleNamespace(
            name=lambda: name, _set_default_timeout=lambda wait: said.update({name: wait.total_seconds()})
        )

    several: Any = SimpleNamespace(_device_types=[torch.device("cpu"), torch.device("cuda")], _get_backend=backend)
    meeting.be_patient(several)
    assert said == {"gloo": 86400.0, "nccl": 3600.0}


@pytest.mark.parametrize(
    ("why", "ends", "adds"),
    [
        ("NCCL error: unhandled system error", True, 0),
        ("they have waited for each other for 0 seconds", False, 2),
        ("a one of each comes to 3", True, 2),
    ],
)
def test_gpus_that_do_not_reach_each_other_are_told_at_once(
    why: str, ends: bool, adds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCCL fails as it connects, its kernels wait for ever, or what they send does not arrive as it was."""

    def all_reduce(number: torch.Tensor, async_op: bool) -> SimpleNamespace:
        if not adds:
            raise torch.distributed.DistBackendError("NCCL error: unhandled system error\nLast error: ...")
        assert async_op
        number += adds
        return SimpleNamespace(is_completed=lambda: ends, wait=lambda: None)

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 8)
    monkeypatch.setattr(meeting, "CONNECTING", timedelta(seconds=0.02))
    told = rf"^the GPUs of this run do not reach each other \({why}\)\. NCCL_DEBUG=INFO has NCCL say"
    with pytest.raises(ProcessesError, match=told, check=lambda error: error.code == "processes/gpus-apart"):
        meeting.reach_each_other(torch.device("cpu"))
