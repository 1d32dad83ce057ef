"""How the processes of a run come together, once, as it starts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from truing.core.device_memory import have_blocks_grow
from truing.core.errors import ProcessesError
from truing.processes.connections import ended_when_unreachable
from truing.processes.group import local_rank

PATIENCE = timedelta(hours=1)
"""For a process that is alive: the owner may read rows or save while the others wait. One that is gone is noticed at
once."""
MEETING, CONNECTING = timedelta(minutes=10), timedelta(minutes=1)
"""For all processes to be there, and to be connected once they are, for which gloo takes up to five times as long"""
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
    store.set_timeout(PATIENCE)
    distributed.distributed_c10d._set_pg_timeout(PATIENCE)
    return store


def _take_own_gpu() -> None:
    """Before anything of CUDA starts. With fewer GPUs than processes, these may be meant to run on the CPU."""
    have_blocks_grow()
    if local_rank() < torch.cuda.device_count():
        torch.cuda.set_device(local_rank())


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
