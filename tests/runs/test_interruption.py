"""A signal asks, an alarm insists, a save holds the alarm off, and a second signal ends at once."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from truing.core.errors import InterruptedRunError, RunError
from truing.runs import interruption
from truing.runs.interruption import Interruption, StepAborted, stop_on_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
LONG = 60.0
"""Seconds that no test takes"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """A process that was asked to end keeps the handlers of a second signal; these tests go on."""
    numbers = (*SIGNALS, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    assert signal.getsignal(signal.SIGALRM) is before[signal.SIGALRM]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "GRACE_SECONDS", 0.01)
    monkeypatch.setattr(interruption, "AGAIN_SECONDS", 0.01)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_and_says_what_is_next(number: signal.Signals) -> None:
    said: list[str] = []
    with stop_on_signals(said.append) as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
        assert str(stop.interrupted("sft is done")) == "interrupted, sft is done. The same command goes on from there."
        assert stop.interrupted("sft is done").exit_code == 128 + number
    assert said == ["stopping: this step has 5 seconds to finish, then it is left; once more stops at once"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_closed_terminal_that_says_so_twice_takes_nothing_from_the_time_to_save(number: signal.Signals) -> None:
    said: list[str] = []
    with stop_on_signals(said.append) as stop:
        for _ in range(3):
            signal.raise_signal(number)
        left = signal.getitimer(signal.ITIMER_REAL)[0]
        assert stop.requested
        assert stop.interrupted("").exit_code == 128 + number
        assert 0 < left <= interruption.GRACE_SECONDS
    assert len(said) == 1
    signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_the_process_was_told_to_ignore_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)  # as nohup does
    with stop_on_signals(print) as stop:
        signal.raise_signal(number)
        assert not stop.requested
    assert signal.getsignal(number) is signal.SIG_IGN


def left(work: Callable[[Interruption], None], number: int = signal.SIGTERM) -> InterruptedRunError:
    """How a run ends that does this work from the signal on."""

    def run() -> None:
        with stop_on_signals(print) as stop:
            signal.raise_signal(number)
            work(stop)

    with pytest.raises(InterruptedRunError) as ended:
        run()
    return ended.value


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("number", SIGNALS)
def test_what_takes_too_long_is_left(number: signal.Signals) -> None:
    error = left(lambda _: time.sleep(LONG), number)
    assert str(error) == "interrupted, what was finished is saved. The same command goes on from there."
    assert error.exit_code == 128 + number


@pytest.mark.usefixtures("at_once")
def test_what_was_said_to_be_saved_is_said_again_when_cleaning_up_takes_too_long() -> None:
    def end(stop: Interruption) -> None:
        try:
            raise stop.interrupted("sft is done")
        finally:
            time.sleep(LONG)

    assert str(left(end)) == "interrupted, sft is done. The same command goes on from there."


@pytest.mark.usefixtures("at_once")
def test_a_save_is_finished_first() -> None:
    done: list[str] = []

    def save(stop: Interruption) -> None:
        with stop.defer():
            with stop.defer():
                time.sleep(0.1)
                done.append("one")
            time.sleep(0.1)
            done.append("other")
        time.sleep(LONG)

    left(save)
    assert done == ["one", "other"]


@pytest.mark.usefixtures("at_once")
def test_an_alarm_that_something_swallows_rings_again() -> None:
    def swallow(_: Interruption) -> None:
        with contextlib.suppress(StepAborted):
            time.sleep(LONG)
        time.sleep(LONG)

    left(swallow)


@pytest.mark.usefixtures("at_once")
def test_an_alarm_of_which_something_made_an_error_of_its_own_is_still_the_alarm() -> None:
    def mistake(_: Interruption) -> None:
        try:
            time.sleep(LONG)
        except StepAborted:
            raise ValueError("could not determine the shape") from None

    assert str(left(mistake)).startswith("interrupted, what was finished is saved.")


@pytest.mark.usefixtures("at_once")
def test_nothing_is_saved_once_something_has_swallowed_the_alarm() -> None:
    def save(stop: Interruption) -> None:
        with contextlib.suppress(StepAborted):
            time.sleep(LONG)
        with stop.defer():
            pytest.fail("what was swallowed may have left a wrong value")

    left(save)


@pytest.mark.usefixtures("at_once")
def test_a_swallowed_alarm_is_not_forgotten_at_the_end_of_a_block() -> None:
    def go_on(stop: Interruption) -> None:
        with stop.convert(), contextlib.suppress(StepAborted):
            time.sleep(LONG)
        pytest.fail("what was swallowed may have left a wrong value")

    left(go_on)


@pytest.mark.usefixtures("at_once")
def test_an_error_is_not_hidden_by_an_alarm_while_it_is_cleaned_up() -> None:
    def fail(stop: Interruption) -> None:
        try:
            with stop.convert(), stop.defer():
                raise RunError("cannot be written: no space left on device.")
        finally:
            time.sleep(0.1)  # ten alarms

    with pytest.raises(RunError, match="no space left"):
        left(fail)


def test_an_error_before_the_alarm_is_told() -> None:
    def fail() -> None:
        with stop_on_signals(print):
            signal.raise_signal(signal.SIGTERM)
            raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        fail()


@pytest.fixture
def _interrupts() -> Iterator[None]:
    """Ctrl-C as at a terminal, also where the tests run in the background and so ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts")
def test_a_second_signal_ends_at_once() -> None:
    def run() -> None:
        with stop_on_signals(print):
            signal.raise_signal(signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run()


def test_without_a_signal_all_is_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals(print):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
