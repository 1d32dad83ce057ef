"""Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 as a request: the step under way is finished and saved, or left if that is long.

A run may be killed at any moment, so it may be left at any moment as well: once the time to finish is up, an alarm
raises `StepAborted` wherever the main thread is, in a rollout or a backward, waiting for a reward function, between two
stages. Only what saves, and what looks for something saved, holds the alarm off.

Python that is called from C may lose the exception: the caller makes an error of its own of it, or goes on with a
default. So the stop remembers that it rang: any error after it is taken for it, and nothing that holds the alarm off
begins any more.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from truing.core.errors import InterruptedRunError

GRACE_SECONDS = 5.0
"""For the step under way, after the signal"""
AGAIN_SECONDS = 5.0
"""Until the alarm rings once more, should something have swallowed it or take long to clean up"""


MORE_ENDS = (signal.SIGINT, signal.SIGTERM)
"""Signals of which a second one, of either, ends the process at once"""
MORE_IS_THE_SAME = (signal.SIGHUP, signal.SIGUSR1)
"""A terminal that is closed may send its signal twice, and schedulers warn of the end of a job as often as they like"""


class StepAborted(BaseException):
    """What is under way is left as it is. It is no Exception, so that nobody takes it for a fault of their own."""


@dataclass
class Interruption:
    """Whether somebody has asked the run to end."""

    signal_number: int | None = None
    saved: str = "what was finished is saved"
    """What the run can go on from, for whoever reads that it was interrupted"""
    _deferred: bool = False
    _rang: bool = False
    """Whether an alarm was raised that nobody has taken in yet"""

    @property
    def requested(self) -> bool:
        return self.signal_number is not None

    def agree(self, numbers: Sequence[int | None]) -> bool:
        """Whether any process of the run was asked to end, by these signals; then this one was too."""
        asked = next((number for number in numbers if number is not None), None)
        self.signal_number = asked if self.signal_number is None else self.signal_number
        return asked is not None

    def interrupted(self, saved: str) -> InterruptedRunError:
        """The error that ends the run; `saved` says what it can go on from."""
        assert self.signal_number is not None
        self.saved = saved
        return InterruptedRunError(
            f"interrupted, {saved}. The same command goes on from there.", 128 + self.signal_number
        )

    @contextmanager
    def defer(self) -> Iterator[None]:
        """Nothing is abandoned inside the block: a save is worth its seconds.

        Raises:
            StepAborted: an alarm was lost on the way here, so that what would be saved may be wrong.
        """
        if self._rang:
            raise StepAborted
        before, self._deferred = self._deferred, True
        try:
            yield
        finally:
            self._deferred = before

    @contextmanager
    def convert(self) -> Iterator[None]:
        """An alarm that rings in the block leaves it as `StepAborted`, whatever was made of it on its way.

        Any other error leaves as it is, and no alarm that rings while it does so is put in its place.
        """
        try:
            yield
            if self._rang:
                raise StepAborted
        except InterruptedRunError:
            raise
        except Exception as error:
            if self._rang:
                raise StepAborted from error
            self._deferred = True
            raise
        finally:
            self._rang = False

    def on_alarm(self, number: int, frame: FrameType | None) -> None:
        """The alarm: the time to finish is up."""
        if not self._deferred:
            self._rang = True
            raise StepAborted


@contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[Interruption]:
    """A first signal of these in the block sets the stop and the alarm; for a second, see the two kinds of them.

    One that the process was told to ignore, as SIGHUP is by nohup, stays ignored.

    Raises:
        InterruptedRunError: the block was left at the alarm.
    """
    stop = Interruption()
    before: dict[int, object] = {}

    def handle(number: int, _: FrameType | None) -> None:
        stop.signal_number = number
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS, AGAIN_SECONDS)
        _restore({number: before[number] for number in MORE_ENDS})
        _restore(dict.fromkeys(MORE_IS_THE_SAME, signal.SIG_IGN))
        say(f"stopping: this step has {GRACE_SECONDS:g} seconds to finish, then it is left; once more stops at once")

    alarm: dict[int, object] = {signal.SIGALRM: signal.signal(signal.SIGALRM, stop.on_alarm)}
    for number in (*MORE_ENDS, *MORE_IS_THE_SAME):
        before[number] = signal.getsignal(number)
        if number in MORE_ENDS or before[number] is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        with stop.convert():
            yield stop
    except StepAborted:
        raise stop.interrupted(stop.saved) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _restore(alarm)
        if not stop.requested:
            _restore(before)


def _restore(handlers: dict[int, object]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)  # type: ignore[arg-type]
