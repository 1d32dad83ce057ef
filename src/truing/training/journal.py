"""The record of a stage as it goes: metrics and samples, progress on the screen, checkpoints to go on from.

A stage that was killed and is run again takes up its newest whole checkpoint: weights and optimiser as they were, both
logs cut back to that moment. Every random draw is a function of its position, so what follows is what would have
followed. A stage may also pin a checkpoint while it runs, and go back to it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from truing.core.errors import (
    DataError,
    EngineError,
    InterruptedRunError,
    RewardError,
    RunError,
    TrainingError,
    WaitingError,
)
from truing.processes import group
from truing.processes.failures import PeerFailed
from truing.runs.checkpoints import (
    Checkpoint,
    is_saved,
    newest_checkpoint,
    pin_checkpoint,
    pinned_checkpoint,
    remove_after,
    save_checkpoint,
    write_shard,
)
from truing.runs.interruption import StepAborted
from truing.runs.metrics import JsonLines, read_jsonl
from truing.runs.progress import StageProgress
from truing.training.job import Job
from truing.training.learner import Learner
from truing.training.resumption import cursor, found_on_owner, named_to_remember, remembered


@dataclass
class Journal:
    """What a stage writes down, step by step."""

    job: Job
    learner: Learner
    metrics: JsonLines
    samples: JsonLines
    bar: StageProgress
    steps: int
    """Of the whole stage"""
    step: int
    """The last that is done; 0 before the first"""
    memory: dict[str, Any]
    """What the stage asked to be remembered with that step"""
    tensors: dict[str, Tensor]
    """Those that it asked to be remembered, besides all that the learner has"""
    rows: list[dict[str, Any]]
    """Every line of the metrics so far"""
    earlier_samples: list[dict[str, Any]]
    """Every line of the samples when the stage was opened"""
    _saved_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._saved_step = self.step
        self._mark()

    def _mark(self) -> None:
        """Where logs and learning stand at the end of a step."""
        self._cursors = {"metrics": self.metrics.cursor, "samples": self.samples.cursor}
        self._steps_begun = self.learner.steps_begun

    def remaining(self, steps: int) -> Iterator[int]:
        """The steps still to do, of 1 to `steps`: the one after the last that is done, each time."""
        while self.step < steps:
            yield self.step + 1

    def log(self, step: int, metrics: dict[str, Any], shown: Sequence[str] = ()) -> None:
        """One line of metrics, to the file and to the trackers; the bar shows those of it that are named."""
        row = {"step": step, **metrics}
        self.metrics.append(row)
        self.job.tracker.log(self.job.name, step, metrics)
        self.rows.append(row)
        self.bar.advance(step, {name: row[name] for name in shown if name in row})

    def recall(self, name: str, first: Any) -> Any:
        """What was remembered with the last step; `first` before there is one.

        Raises:
            RunError: the checkpoint does not have it, so the next step would not be the right one.
        """
        if self.step and name not in self.memory:
            hint = "Give another --out."
            raise RunError(f"the checkpoint of step {self.step} lacks {name}.", code="run/checkpoint-lacks", hint=hint)
        return self.memory.get(name, first)

    def latest(self, name: str) -> Any:
        """The last value that was logged of a metric."""
        return next(row[name] for row in reversed(self.rows) if name in row)

    def done(self, step: int, tensors: Mapping[str, Tensor] | None = None, **memory: Any) -> None:
        """A step is complete: saves a checkpoint if one is due, as it always is after the last step.

        So what follows, measuring and saving what the stage made, may fail at no cost but its own. Beside what the
        learner has, `memory` and `tensors`, which nothing changes any more, go with the step.

        Raises:
            InterruptedRunError: somebody asked the run to end; this step is saved.
            TrainingError: the processes no longer have the same weights; it is not saved.
        """
        with self.job.stop.defer():
            self.step, self.memory, self.tensors = step, memory, dict(tensors or {})
            self._mark()
            asked = self.job.stop.agree(group.all_gather(self.job.stop.signal_number))
            if asked or group.broadcast(self._due):
                self._refuse_drift()
                self._save()
        if asked:
            raise self._interrupted()

    def keep(self) -> None:
        """Saves the step that is done, where it is not saved yet: for a stage that ends before its last step."""
        with self.job.stop.defer():
            if self._saved_step != self.step:
                self._refuse_drift()
                self._save()

    def pin(self) -> None:
        """Keeps the step that is done as a checkpoint to go back to, instead of the one pinned before."""
        with self.job.stop.defer():
            place = self.job.directory.checkpoints
            if self.step == 0 and not group.broadcast(lambda: is_saved(place, 0)):  # the beginning, which nobody saves
                self._mark()
                self._save()
            self.keep()
            group.on_owner(lambda: pin_checkpoint(place, self.step))

    def roll_back(self, reason: str) -> None:
        """Weights, optimiser and logs as they were at the pinned step, which is the last that is done again.

        Raises:
            RunError: no step is pinned, or its checkpoint is damaged.
        """
        with self.job.stop.defer():
            found = self._pinned()
            group.on_owner(lambda: remove_after(self.job.directory.checkpoints, found.step))
            self.learner.restore(found.tensors)
            for log in (self.metrics, self.samples):
                log.cut(cursor(found, log.path.stem))
            self.job.tracker.go_back(self.job.name, found.step)
            self.job.progress.note(f"{self.job.name}: back from step {self.step} to step {found.step}, since {reason}")
            self.step, self.memory, self.tensors = found.step, found.state["memory"], remembered(found)
            self.rows = group.broadcast(lambda: read_jsonl(self.metrics.path))
            self._saved_step = found.step
            self._mark()

    def take_pinned(self) -> int:
        """Weights as they were at the pinned step, which is returned; logs, and the steps that are done, stay.

        Raises:
            RunError: no step is pinned, or its checkpoint is damaged.
        """
        with self.job.stop.defer():
            found = self._pinned()
            self.learner.restore(found.tensors)
            return found.step

    def _pinned(self) -> Checkpoint:
        place = self.job.directory.checkpoints
        found = found_on_owner(place, lambda: pinned_checkpoint(place))
        assert found is not None
        return found

    def abandon(self) -> InterruptedRunError:
        """The step under way is left, since somebody asked the run to end: the error that says so."""
        self.save_last_step()
        return self._interrupted()

    def save_last_step(self) -> None:
        """The step under way is left. The one before is saved, unless learning has gone on since.

        Processes that are about to end compare nothing any more, nor can any save what others have parts of.
        """
        with self.job.stop.defer():
            can = not self.learner.is_in_parts and self.learner.steps_begun == self._steps_begun
            if self.step > self._saved_step and can:
                self._save()

    def _interrupted(self) -> InterruptedRunError:
        lost = self.step - self._saved_step
        place = f"saved after step {self._saved_step}" if self._saved_step else "at its beginning"
        again = f", and {lost} more that {'was' if lost == 1 else 'were'} finished will be done again" if lost else ""
        return self.job.stop.interrupted(f"{self.job.name} is {place}{again}")

    def _due(self) -> bool:
        settings = self.job.recipe.checkpoints
        if self.step == self.steps:
            return True
        if settings.every_steps is not None:
            return self.step % settings.every_steps == 0
        return time.monotonic() - self._saved_at >= 60 * settings.every_minutes

    def _refuse_drift(self) -> None:
        """TrainingError where the processes, each of which steps its own copy, no longer have the same weights."""
        if self.learner.differs_between_processes():
            what = "the processes no longer have the same weights."
            hint = "Run all of them on processors of one kind, or in one process; what was saved before is sound."
            raise TrainingError(what, code="training/drifted-apart", hint=hint)

    def _save(self) -> None:
        """All processes save the step; the owner writes it, and of weights in parts each writes its own."""
        keep, place = self.job.recipe.checkpoints.keep_last, self.job.directory.checkpoints
        with self.job.saving:
            own = self.learner.own_parts() if self.learner.is_in_parts else None
            if group.is_owner():
                self.metrics.sync()
                self.samples.sync()
                seconds = {name: watch.seconds for name, watch in self.job.watches.items()}
                state = {"cursors": self._cursors, "memory": self.memory, "seconds": seconds}
                tensors = self.learner.tensors() | named_to_remember(self.tensors)
                save_checkpoint(place, self.step, tensors, state, keep, own)
            elif own is not None:
                write_shard(own)
        self._saved_at, self._saved_step = time.monotonic(), self.step


@contextmanager
def open_journal(job: Job, learner: Learner, steps: int) -> Iterator[Journal]:
    """The journal of a stage of so many steps, begun or taken up again.

    Raises:
        InterruptedRunError: somebody asked the run to end, in the block.
        RunError: what another process of the run has written is not to be seen here.
        PeerFailed, EngineError, RewardError, DataError, WaitingError: another process, the server that samples, a
            reward or a judge has failed, or people have to judge first; the last finished step is saved.
    """
    with job.stop.defer():  # an alarm in a library that reads would look like a damaged file
        place = job.directory.checkpoints
        found = found_on_owner(place, lambda: newest_checkpoint(place, job.progress.note))
    if found is not None:
        learner.restore(found.tensors)
        for name, seconds in found.state.get("seconds", {}).items():
            job.watches[name].add(seconds)
        job.progress.note(f"{job.name}: going on after step {found.step}")
    with ExitStack() as open_files:
        metrics, samples = (
            open_files.enter_context(JsonLines(path, cursor(found, path.stem)))
            for path in (job.directory.metrics, job.directory.samples)
        )
        step, memory, tensors = (found.step, found.state["memory"], remembered(found)) if found else (0, {}, {})
        bar = open_files.enter_context(job.progress.stage(job.name, steps, step))
        logged, said = group.broadcast(lambda: (read_jsonl(metrics.path), read_jsonl(samples.path)))
        journal = Journal(job, learner, metrics, samples, bar, steps, step, memory, tensors, logged, said)
        with _step_in_errors(journal):
            try:
                with job.stop.convert():
                    yield journal
            except StepAborted:
                raise journal.abandon() from None
            except (PeerFailed, DataError, EngineError, RewardError):
                journal.save_last_step()
                raise
            except WaitingError:  # which all processes raise, so that they save the step together
                journal.keep()
                if job.stop.agree(group.all_gather(job.stop.signal_number)):
                    raise journal.abandon() from None
                raise


@contextmanager
def _step_in_errors(journal: Journal) -> Iterator[None]:
    """Numbers that went wrong are told with the stage and the step in which they did."""
    try:
        yield
    except (TrainingError, RewardError, EngineError) as error:
        step = journal.step + 1 if journal.rows else 0
        where = f"{journal.job.name} step {step}"
        if error.where is not None and not error.where.startswith(where):
            where = f"{where}, {error.where}"
        raise type(error)(**vars(error.problem) | {"where": where}) from error
