"""How fast several processes speak to each other on this machine, found by having some do so."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory

import torch
from torch import distributed

from truing.processes.launch import LOOPBACK

SMALL, LARGE = 256, 2**20
"""Numbers of a message that takes as long as any, and of one whose bytes are what takes long"""
SMALL_ONES, LARGE_ONES = 100, 5
MOST = 16
"""Processes that are started to speak to each other, however many there are to be"""
PATIENCE, GRACE_SECONDS = 60.0, 5.0
"""For all to have spoken, and to have ended once they have"""


@dataclass(frozen=True)
class Speed:
    """Of what goes between processes of this machine."""

    message: float
    """Seconds that a message takes, however little it says"""
    link: float
    """Bytes a second, one way"""


def measured_speed(processes: int) -> Speed | None:
    """Of so many processes with one thread each, on the CPU, which have its cores as those of a run will.

    None where they do not come to speak to each other.
    """
    context, size = get_context("forkserver"), min(processes, MOST)  # born with the libraries imported
    receiver, sender = context.Pipe(duplex=False)
    with TemporaryDirectory() as place:
        started = [context.Process(target=_speak, args=(rank, size, place, sender)) for rank in range(size)]
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


def _speak(rank: int, size: int, place: str, sender: Connection) -> None:
    """In one of them: the first sends what it found. One that is gone is nobody's fault here, and so not told."""
    with suppress(RuntimeError, OSError):
        _spoken(rank, size, place, sender)


def _spoken(rank: int, size: int, place: str, sender: Connection) -> None:
    os.environ.update(LOOPBACK)
    torch.set_num_threads(1)
    store = distributed.FileStore(f"{place}/store", size)  # type: ignore[attr-defined]
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    small, large = torch.zeros(SMALL), torch.zeros(LARGE)
    message = _seconds(lambda: distributed.all_reduce(small), SMALL_ONES)
    whole = _seconds(lambda: distributed.all_reduce(large), LARGE_ONES)
    if rank == 0:
        moved = 2 * (1 - 1 / size) * large.element_size() * LARGE
        link = moved / max(whole - message, 1e-9)
        sender.send(Speed(message, link))
    distributed.barrier()


def _seconds(speak: Callable[[], object], times: int) -> float:
    speak()
    begun = time.perf_counter()
    for _ in range(times):
        speak()
    return (time.perf_counter() - begun) / times
