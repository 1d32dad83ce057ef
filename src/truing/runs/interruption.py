"""Ctrl-C and SIGTERM as a request: the step under way is finished and saved, then the run ends."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from truing.errors import InterruptedRunError


@dataclass
class Stop:
    """Whether somebody has asked the run to end."""

    signal_number: int | None = None

    @property
    def requested(self) -> bool:
        return self.signal_number is not None

    def interrupted(self, saved: str) -> InterruptedRunError:
        """The error that ends the run; `saved` says what it can go on from."""
        assert self.signal_number is not None
        return InterruptedRunError(
            f"interrupted, {saved}. The same command goes on from there.", 128 + self.signal_number
        )


@contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[Stop]:
    """A first SIGINT or SIGTERM in the block sets the stop; a second one ends the process as it ends any other."""
    stop = Stop()
    before: dict[int, object] = {}

    def handle(number: int, _: FrameType | None) -> None:
        stop.signal_number = number
        for each, handler in before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]
        say("finishing this step, then saving; once more stops at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        if not stop.requested:
            for each, handler in before.items():
                signal.signal(each, handler)  # type: ignore[arg-type]
