"""A process that waits for another hears no signal: Python runs its handlers between its own instructions.

A thread hears it instead. Where the process is still waiting some seconds after it was asked to end, the thread ends it
as the signal says; what was saved stays saved. So it does where whoever started the process is gone.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from truing.processes.started import LAUNCHER

GRACE_SECONDS = 8.0
"""More than a step is given after a signal, so that the step's own way out comes first"""
PATIENT_SECONDS = 60.0
"""Of the others, since the owner may be saving while they wait for it"""
LOOK_SECONDS = 0.5
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Watchdog:
    """Watches over the main thread of this process."""

    def __init__(self, seconds: float) -> None:
        """Ends a process that has waited so long after it was asked to end."""
        self._seconds = seconds
        self._parent = int(os.environ.get(LAUNCHER, os.getppid()))  # which may be gone already
        self._since: float | None = None
        """When the main thread began to wait, while it does; later, where it may wait for longer"""
        self._asked: tuple[int, float] | None = None
        """The signal that asked this process to end, and when"""
        self._ears, self._mouth = os.pipe()
        os.set_blocking(self._mouth, False)
        self._before = signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """The main thread waits no more."""
        signal.set_wakeup_fd(self._before)
        os.close(self._mouth)

    @contextmanager
    def waiting(self, at_least: float = 0.0) -> Iterator[None]:
        """The main thread waits for another process, or is busy beside it for at least so many seconds."""
        before, self._since = self._since, time.monotonic() + max(0.0, at_least - self._seconds)
        try:
            yield
        finally:
            self._since = before

    def _watch(self) -> None:
        while True:
            ready, _, _ = select.select([self._ears], [], [], LOOK_SECONDS)
            heard = os.read(self._ears, 64) if ready else b""
            if ready and not heard:
                os.close(self._ears)
                return
            for number in set(heard).intersection(ENDING):
                self._asked = self._asked or (number, time.monotonic())
            if self._asked is None and os.getppid() != self._parent:
                os.kill(os.getpid(), signal.SIGTERM)
            self._end_if_deaf()

    def _end_if_deaf(self) -> None:
        since = self._since
        if self._asked is None or since is None:
            return
        number, asked = self._asked
        if time.monotonic() - max(since, asked) > self._seconds:
            os._exit(128 + number)
