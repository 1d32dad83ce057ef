"""The runs of a sweep as processes of their own, so many at a time, each begun from the finished stages of another."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from truing.core.errors import RunError
from truing.core.processor import THREADS, threads_of_each
from truing.processes.launch import LOOK_SECONDS, Process, signals_passed_on, start_truing
from truing.processes.started import LAUNCHER
from truing.processes.watchdog import GRACE_SECONDS
from truing.runs.lock import PATIENCE_SECONDS, locked
from truing.runs.progress import duration
from truing.sweep.trials import Trial, shared_stages

Say = Callable[[str], None]


@dataclass
class Work:
    """What became of the runs that were left to do."""

    waiting: list[Trial]
    going: dict[Trial, tuple[Process, float]] = field(default_factory=dict)
    """And when each was begun"""
    failed: dict[Trial, int] = field(default_factory=dict)
    """With their exit codes"""
    signal: int | None = None
    """That asked the sweep to end"""

    @property
    def exit_code(self) -> int:
        """0 where every run has ended well."""
        return 128 + self.signal if self.signal else next(iter(self.failed.values()), 0)


def run_trials(trials: Sequence[Trial], recipe_file: Path, jobs: int, say: Say) -> Work:
    """Runs what is left of each, `jobs` at a time; one that fails is told, and the others go on.

    A signal that ends a run is passed on to all that are going, and none is begun any more.
    """
    work = Work([trial for trial in trials if not trial.is_done])
    for trial in work.waiting:
        _let_end(trial)
    done = len(trials) - len(work.waiting)
    if done:
        say(f"{done} of {len(trials)} runs are done already")
    started: list[Process] = []
    with signals_passed_on(started) as signals:
        while work.going or (work.waiting and not signals):
            while not signals and len(work.going) < jobs and (begun := _begin_next(work, trials, recipe_file, jobs)):
                started.append(work.going[begun][0])
                say(f"{begun.name}: begun")
            for trial, code, seconds in _ended(work):
                if code == 0:
                    done += 1
                    say(f"{trial.name}: done in {duration(seconds)}, {done} of {len(trials)}")
                elif not signals:
                    work.failed[trial] = code
                    say(f"{trial.name}: ended with exit code {code}: {_last_words(trial)}")
            time.sleep(LOOK_SECONDS)
        work.signal = signals[0] if signals else None
    return work


def _begin_next(work: Work, trials: Sequence[Trial], recipe_file: Path, jobs: int) -> Trial | None:
    """Starts the first that need not wait for another's stages; None where all that are left do."""
    for trial in work.waiting:
        source, is_ready = _source(trial, work, trials)
        if is_ready:
            work.waiting.remove(trial)
            work.going[trial] = _started(trial, source, recipe_file, jobs), time.monotonic()
            return trial
    return None


def _source(trial: Trial, work: Work, trials: Sequence[Trial]) -> tuple[Trial | None, bool]:
    """The earlier run from which one takes finished stages over, if any, and whether they are there already."""
    earlier = [other for other in trials[: trials.index(trial)] if shared_stages(trial, other)]
    for other in sorted(earlier, key=lambda other: -len(shared_stages(trial, other))):  # the first of the best
        if other.stages_done >= set(shared_stages(trial, other)):
            return other, True
        if other in work.waiting or other in work.going:
            return None, False
    return None, True


def _started(trial: Trial, source: Trial | None, recipe_file: Path, jobs: int) -> Process:
    """`truing run`, what it says in a file beside its directory."""
    sets = [word for override in trial.overrides for word in ("--set", override)]
    place = ["--out", str(trial.root)] if source is None else ["--out", str(source.root), "--fork-to", str(trial.root)]
    environment = {THREADS: str(threads_of_each(jobs)), **os.environ}
    trial.root.parent.mkdir(parents=True, exist_ok=True)
    with _log(trial).open("ab") as log:
        return start_truing(
            ["run", str(recipe_file), *sets, *place],
            environment | {LAUNCHER: str(os.getpid())},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _ended(work: Work) -> list[tuple[Trial, int, float]]:
    """Those that are going no longer, with their exit codes and how long they took."""
    found = []
    for trial, (process, begun) in list(work.going.items()):
        code = process.poll()
        if code is not None:
            del work.going[trial]
            found.append((trial, code, time.monotonic() - begun))
    return found


def _let_end(trial: Trial) -> None:
    """Gives a process of a sweep that was killed, which ends by itself, the time to save."""
    end = time.monotonic() + GRACE_SECONDS + PATIENCE_SECONDS
    while trial.root.exists() and time.monotonic() < end:
        try:
            with locked(trial.run.lock):
                return
        except RunError:
            continue


def _log(trial: Trial) -> Path:
    return trial.root.with_suffix(".log")


def _last_words(trial: Trial) -> str:
    """Of a run that failed."""
    lines = _log(trial).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
