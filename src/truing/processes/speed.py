"""How fast several processes of this machine speak to each other and compute side by side, found by some that do."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from truing.processes.launch import LOOPBACK

SMALL, LARGE = 256, 2**20
"""Numbers of a message that takes as long as any, and of one whose bytes are what takes long"""
SMALL_ONES, LARGE_ONES = 100, 5
MOST = 16
"""Processes that are started to speak to each other, however many there are to be"""
WORK, WORKED = (512, 512, 2048), 20
"""Of a product like those of a layer, rows, and numbers in and out; and how many are timed"""
PATIENCE, GRACE_SECONDS = 60.0, 5.0
"""For all to have spoken, and to have ended once they have"""


@dataclass(frozen=True)
class Speed:
    """Of what goes between processes of this machine."""

    message: float
    """Seconds that a message takes, however little it says"""
    link: float
    """Bytes a second, one way"""
    slowdown: float
    """Times as long that each computes while all do, beside one that does alone: they share memory, caches, clocks, and
    cores where there are fewer of these than threads"""


def measured_speed(processes: int, threads: int) -> Speed | None:
    """Of so many processes with so many threads each, on the CPU, which have its cores as those of a run will.

    None where they do not come to speak to each other.
    """
    context, size = get_context("forkserver"), min(processes, MOST)  # born with the libraries imported
    receiver, sender = context.Pipe(duplex=False)
    with TemporaryDirectory() as place:
        started = [context.Process(target=_speak, args=(rank, size, threads, place, sender)) for rank in range(size)]
        try:
            for process in started:
                process.start()
            sender.close()
            found: Speed | None = receiver.recv() if receiver.poll(PATIENCE) else None
        except (EOFError, OSError):
            found = None
        finally:
            for process in started:
                if process.pid is not None:
                    process.join(GRACE_SECONDS if found else 0.0)
                    process.kill()
                    process.join()
    return found


def _speak(rank: int, size: int, threads: int, place: str, sender: Connection) -> None:
    """In one of them: the first sends what it found. One that is gone is nobody's fault here, and so not told."""
    with suppress(RuntimeError, OSError):
        _spoken(rank, size, threads, place, sender)


def _spoken(rank: int, size: int, threads: int, place: str, sender: Connection) -> None:
    os.environ.update(LOOPBACK)
    torch.set_num_threads(threads)
    store = distributed.FileStore(f"{place}/store", size)  # type: ignore[attr-defined]
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    small, large = torch.zeros(SMALL), torch.zeros(LARGE)
    message = _seconds(lambda: distributed.all_reduce(small), SMALL_ONES)
    whole = _seconds(lambda: distributed.all_reduce(large), LARGE_ONES)
    slowdown = _slowdown(rank, size)
    if rank == 0:
        moved = 2 * (1 - 1 / size) * large.element_size() * LARGE
        link = moved / max(whole - message, 1e-9)
        sender.send(Speed(message, link, slowdown))
    distributed.barrier()


@torch.no_grad()
def _slowdown(rank: int, size: int) -> float:
    """Of the first process beside all others, which wait while it computes alone."""
    rows, numbers, width = WORK
    hidden, weight = torch.ones(rows, numbers), torch.ones(width, numbers)

    def layer() -> Tensor:
        return F.silu(F.linear(hidden, weight))

    alone = torch.tensor(_seconds(layer, WORKED) if rank == 0 else 0.0)
    distributed.all_reduce(alone)
    together = torch.tensor(_seconds(layer, WORKED) / size)
    distributed.all_reduce(together)
    return max(1.0, (together / alone).item())


def _seconds(work: Callable[[], object], times: int) -> float:
    work()
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times
