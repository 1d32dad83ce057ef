"""A short run of all stages in a process of its own, which is watched.

What is measured is what the process takes of the system: weights and tensors, what the allocator cannot hand out again,
what libraries keep. A process of its own begins with nothing of an earlier run in it, and if memory runs out, it ends
alone.
"""

import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from truing.config.plan import plan
from truing.config.recipe import Recipe
from truing.core.errors import ProcessesError, TrainingError, TruingError, first_line
from truing.core.garbage import keep_libraries
from truing.data.prepared import Prepared
from truing.models.device import device_of
from truing.pipeline.execute import run_stage
from truing.runs.directory import open_run
from truing.runs.interruption import Interruption
from truing.runs.memory import release_memory, resident, resident_files, shared_files
from truing.runs.progress import Figures, SilentProgress
from truing.runs.trackers import open_tracker

MAXRSS = 1 if sys.platform == "darwin" else 1024
"""Bytes of the unit in which the system tells a process' peak"""
OF_SIGNAL = 128
"""What is added to a signal's number in the exit code of a process that heard it and ended by itself"""
GRACE_SECONDS = 5.0
"""For the other process to end by itself"""
PRODUCTS_KEPT = 64
"""Products that oneDNN keeps compiled in a dry run: as many in every one, or what it learnt of chance lengths would be
taken for what layers cost"""


@dataclass(frozen=True)
class Usage:
    """What a stage took."""

    peak: float
    """Bytes at the worst moment"""
    held: float
    """Bytes between two steps: weights, moments, rows, and Python with its libraries"""
    seconds: float
    """Of a step; of an update where the stage learns from its own responses"""
    steps: int = 0
    """Of the whole stage; 0 for a dry run"""

    @property
    def total(self) -> float:
        """Seconds of all its steps, without evaluations, checkpoints and loading."""
        return self.steps * self.seconds


def dry_run(recipe: Recipe, rows: Prepared, root: Path) -> dict[str, Usage] | None:
    """What each stage of a recipe takes, by the stage's name; None where memory does not suffice.

    Raises:
        TruingError: whatever a stage refuses; a ProcessesError where the other process could not begin or has ended.
    """
    context = get_context("forkserver")  # whose processes are born with the libraries imported
    context.set_forkserver_preload([__name__])
    with _on_interrupt(signal.SIG_IGN):  # a terminal's Ctrl-C is for this process, which ends the other one
        forkserver.ensure_running()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, partial(_run, recipe, rows, root, resident_files())))
    interrupts: list[int] = []
    try:
        with _on_interrupt(lambda number, _: interrupts.append(number)):  # half a process could not be ended
            process.start()
        if interrupts:
            raise KeyboardInterrupt
        sender.close()
        found: dict[str, Usage] | Exception | None = receiver.recv()
    except (EOFError, OSError) as error:
        _refuse_unless_killed(process, error)
        return None
    except BaseException:  # nobody waits any more
        if process.pid is not None:
            process.terminate()
            process.join(GRACE_SECONDS)
            process.kill()
        raise
    finally:
        if process.pid is not None:
            process.join()
    if isinstance(found, Exception):
        raise found
    return found


def _refuse_unless_killed(process: BaseProcess, error: Exception) -> None:
    """ProcessesError for one that did not begin, or ended, but not as the system ends it where memory runs out."""
    if process.pid is None:
        ended = f"did not begin ({first_line(error)})"
    else:
        process.join()
        code = process.exitcode or 0
        if code == -signal.SIGKILL:
            return
        number = -code if code < 0 else code - OF_SIGNAL
        ended = f"was ended by {_name_of(number)}" if number > 0 else f"ended with exit code {code}"
    what = f"the process in which the recipe was tried {ended}, which says nothing of what it takes."
    hint = "Try again; if it comes back, `truing validate` takes one step of each stage in this process."
    raise ProcessesError(what, code="processes/ended", hint=hint)


def _name_of(number: int) -> str:
    """A signal's, where it has one."""
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


@contextmanager
def _on_interrupt(handler: Any) -> Iterator[None]:
    """Inside, a Ctrl-C is this handler's, where this is the thread that hears of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _answer(sender: Connection, work: Callable[[], dict[str, Usage] | None]) -> None:
    """In the other process: sends what the work finds, or the error it meets."""
    keep_libraries()  # that it was born with
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(OF_SIGNAL + number))
    found: dict[str, Usage] | Exception | None
    try:
        found = work()
    except TruingError as error:
        found = error
    except Exception as error:  # of any kind, which may not come through a pipe
        found = RuntimeError("".join(traceback.format_exception(error)))
    with suppress(BrokenPipeError):  # nobody waits any more
        sender.send(found)


def _run(recipe: Recipe, rows: Prepared, root: Path, libraries: int) -> dict[str, Usage] | None:
    """`libraries` are the bytes of files that a process holds once it has imported all."""
    os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = str(PRODUCTS_KEPT)  # read at the first product
    usages: dict[str, Usage] = {}
    with open_run(root, recipe) as run, closing(open_tracker([], recipe.name, root)) as tracker:
        for stage in plan(recipe):
            meter = Meter(device_of(recipe.compute), libraries)
            try:
                run_stage(stage, run, rows, meter, tracker, Interruption())
            except TrainingError as error:
                if isinstance(error.__cause__, MemoryError | RuntimeError):
                    return None
                raise
            usages[stage.name] = meter.usage
    return usages


class Meter(SilentProgress):
    """Watches a stage from here on."""

    def __init__(self, device: torch.device, libraries: int) -> None:
        self._gpu = device if device.type == "cuda" else None
        self._libraries = libraries
        self._held = self._seconds = self._since = 0.0
        release_memory()
        if self._gpu is not None:
            torch.cuda.reset_peak_memory_stats(self._gpu)
        else:
            with suppress(OSError):  # where it cannot begin anew, the peak is that of all stages so far
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def advance(self, step: int, figures: Figures) -> None:
        """A step is done. The second is timed."""
        if self._gpu is not None:
            torch.cuda.synchronize(self._gpu)  # or what is still under way there would be the next step's
        now = time.perf_counter()
        if step == 1:
            self._held = self._now()
            self._since = time.perf_counter()
        elif step == 2:
            self._seconds = now - self._since

    @property
    def usage(self) -> Usage:
        """What it took until now."""
        if self._gpu is not None:
            free, whole = torch.cuda.mem_get_info(self._gpu)
            beside = whole - free - torch.cuda.memory_reserved(self._gpu)  # kernels, libraries, other processes
            return Usage(torch.cuda.max_memory_reserved(self._gpu) + beside, self._held + beside, self._seconds)
        # A forked process holds files of libraries that are imported already only once it touches them; any other,
        # from their import on. Those that it imports itself are in its peak, and are taken for touched ones where some
        # other process of the machine happens to hold them too.
        untouched = max(0, self._libraries - shared_files())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS
        return Usage(peak + untouched, self._held + untouched, self._seconds)

    def _now(self) -> float:
        release_memory()
        return float(resident() if self._gpu is None else torch.cuda.memory_allocated(self._gpu))
