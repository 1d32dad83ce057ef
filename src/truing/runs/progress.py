"""What a person sees while a stage runs: a live bar on a terminal, plain lines elsewhere, nothing in a library."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

Figures = Mapping[str, float]

_QUIET_SECONDS = 10.0
_SPEED_SECONDS = 600.0


class StageProgress(Protocol):
    """Progress within one stage."""

    def advance(self, step: int, figures: Figures) -> None:
        """`step` steps of the stage are done; `figures` of this one are worth watching, such as score, kl, loss."""


class Progress(Protocol):
    """Progress of a run, stage by stage."""

    def stage(self, name: str, total: int, done: int = 0) -> AbstractContextManager[StageProgress]:
        """Show the stage `name` of `total` steps while the block runs; an earlier process did `done` of them."""

    def note(self, text: str) -> None:
        """Say one sentence, the first time it is given."""


def open_progress(console: Console) -> Progress:
    """Live bars where `console` is a terminal that can move its cursor, plain lines otherwise."""
    return LiveProgress(console) if console.is_interactive else LineProgress(console)


class SilentProgress:
    """Shows nothing."""

    @contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[StageProgress]:
        """A stage that nobody watches."""
        yield self

    def advance(self, step: int, figures: Figures) -> None:
        """Nothing to show."""

    def note(self, text: str) -> None:
        """Nothing to say."""


class LiveProgress:
    """One bar a stage: name, bar, steps, time left, latest figures. The bar of a finished stage stays."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[str] = set()

    @contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[StageProgress]:
        """Show a bar while the block runs."""
        bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=self._console,
            refresh_per_second=2,
            speed_estimate_period=_SPEED_SECONDS,  # a step may take half a minute
        )
        with bars:
            yield _Bar(bars, bars.add_task(name, total=total, completed=done, figures=""))

    def note(self, text: str) -> None:
        """Print one line, above the bar if there is one."""
        if text not in self._said:
            self._said.add(text)
            self._console.print(text, markup=False, highlight=False)


class _Bar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars = bars
        self._task = task
        self._figures: Figures = {}

    def advance(self, step: int, figures: Figures) -> None:
        self._figures = {**self._figures, **figures}
        self._bars.update(self._task, completed=step, figures=in_words(self._figures))


class LineProgress:
    """A line at the start and the end of a stage, at each tenth of it, and after ten seconds of silence.

    The silence grows to a twentieth of the time passed, so that a night's log stays readable. A figure stands on the
    first line after it was measured, and on no later one.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._said: set[str] = set()

    @contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[StageProgress]:
        """Print lines while the block runs."""
        self._print(f"{name}: {total} steps")
        lines = _Lines(name, total, done, self._print, self._clock)
        yield lines
        lines.close()

    def note(self, text: str) -> None:
        """Print one line, however long."""
        if text not in self._said:
            self._said.add(text)
            self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Lines:
    def __init__(
        self, name: str, total: int, done: int, say: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._name = name
        self._total = total
        self._say = say
        self._clock = clock
        self._began = self._said_at = clock()
        self._said_tenth = 10 * done // max(total, 1)
        self._done_before = self._step = done
        self._figures: Figures = {}

    def advance(self, step: int, figures: Figures) -> None:
        self._step = step
        self._figures = {**self._figures, **figures}
        now = self._clock()
        tenth = 10 * step // max(self._total, 1)
        quiet = max(_QUIET_SECONDS, (now - self._began) / 20)
        if step < self._total and (tenth > self._said_tenth or now - self._said_at >= quiet):
            self._say(f"{self._name} {step}/{self._total}{self._time_left(now)}{self._ending()}")
            self._said_at, self._said_tenth, self._figures = now, tenth, {}

    def close(self) -> None:
        if self._done_before and not self._done_here:
            self._say(f"{self._name}: all steps were done before")
        else:
            took = duration(self._clock() - self._began)
            self._say(f"{self._name}: {self._done_here} steps in {took}{self._ending()}")

    @property
    def _done_here(self) -> int:
        """The steps that the time since `_began` went into."""
        return self._step - self._done_before

    def _time_left(self, now: float) -> str:
        if not self._done_here:
            return ""
        return f", {duration((now - self._began) / self._done_here * (self._total - self._step))} left"

    def _ending(self) -> str:
        return f", {in_words(self._figures)}" if self._figures else ""


def in_words(figures: Figures) -> str:
    """'score 0.812, kl 3.1': three significant digits each."""
    return ", ".join(f"{name} {value:.3g}" for name, value in figures.items())


def duration(seconds: float) -> str:
    """'42 s', '3:05 min' or '1:02:03 h'."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}:{minutes:02}:{rest:02} h"
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"
