"""How the processes of a run come together, once, as it starts."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from truing.core.device_memory import have_blocks_grow
from truing.core.errors import ProcessesError, first_line
from truing.processes.connections import ended_when_unreachable
from truing.processes.started import own_gpu

PATIENCE = {"gloo": timedelta(days=1), "nccl": timedelta(hours=1)}
"""For a process that is alive. By way of gloo the others wait while the owner reads rows, saves, or asks people; NCCL
has what all do in step. One that is gone is noticed at once."""
MEETING, CONNECTING = timedelta(minutes=10), timedelta(minutes=1)
"""For all processes to be there, and to be connected once they are, for which gloo takes up to five times as long"""
LOOK_SECONDS = 0.01
OF_NCCL = (
    "NCCL_DEBUG=INFO has NCCL say what it tries. On one machine NCCL_P2P_DISABLE=1 has GPUs go by its memory; between "
    "machines NCCL_SOCKET_IFNAME has to name the network device by which they are joined."
)
HERE = "truing/here/"
"""What is in the store of each process that is there, by its rank"""


def meet(rank: int, size: int) -> Store:
    """Waits until all processes are there and connected; the store that they share.

    Raises:
        ProcessesError: they do not reach each other.
    """
    backend = "gloo"
    if torch.cuda.is_available():
        _take_own_gpu()
        backend = "cpu:gloo,cuda:nccl"
    with ended_when_unreachable(), _told_in_a_sentence():
        store: Store
        store, _, _ = next(rendezvous("env://", rank, size, timeout=MEETING))
        store.set(f"{HERE}{rank}", "")
        store.wait([f"{HERE}{other}" for other in range(size)], MEETING)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=CONNECTING)
    store.set_timeout(PATIENCE["gloo"])
    be_patient(distributed.distributed_c10d._get_default_group())
    return store


def be_patient(group: distributed.ProcessGroup) -> None:
    """Has those of a group wait for each other as long as all do; PyTorch would end a new one's waiting in minutes."""
    for device in group._device_types:
        backend = group._get_backend(device)
        if hasattr(backend, "_set_default_timeout"):  # what TORCH_DISTRIBUTED_DEBUG puts around it has none
            backend._set_default_timeout(PATIENCE[backend.name()])


def reach_each_other(device: torch.device) -> None:
    """Adds up a number of each process, on its device.

    GPUs that do not reach each other wait for ever, and would do so once responses were sampled for minutes.

    Raises:
        ProcessesError: that does not come to an end, or to their number.
    """
    try:
        number = torch.ones(1, device=device)
        adding, since = distributed.all_reduce(number, async_op=True), time.monotonic()
        while not adding.is_completed():
            if time.monotonic() - since > CONNECTING.total_seconds():
                raise RuntimeError(f"they have waited for each other for {CONNECTING.total_seconds():.0f} seconds")
            time.sleep(LOOK_SECONDS)
        adding.wait()
        if number.item() != distributed.get_world_size():
            raise RuntimeError(f"a one of each comes to {number.item():g}")
    except RuntimeError as error:
        what = f"the GPUs of this run do not reach each other ({first_line(error)})."
        raise ProcessesError(what, code="processes/gpus-apart", hint=OF_NCCL) from error


def _take_own_gpu() -> None:
    """Before anything of CUDA starts. With fewer GPUs than processes, these may be meant to run on the CPU."""
    have_blocks_grow()
    seen = torch.cuda.device_count()
    if own_gpu(seen) < seen:
        torch.cuda.set_device(own_gpu(seen))


@contextmanager
def _told_in_a_sentence() -> Iterator[None]:
    """The library's errors."""
    try:
        yield
    except RuntimeError as error:
        what = f"the processes of this run do not reach each other ({str(error).splitlines()[0]})."
        device = os.environ.get("GLOO_SOCKET_IFNAME", "nothing")
        hint = (
            "Between the machines all ports have to be open, not MASTER_PORT alone, and GLOO_SOCKET_IFNAME, which is "
            f"{device} here, has to name the network device by which they are joined."
        )
        raise ProcessesError(what, code="processes/apart", hint=hint) from error
