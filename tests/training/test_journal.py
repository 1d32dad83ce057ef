"""A stage that is taken up again has the weights, moments, logs and memory of its last checkpoint, and no more."""

import io
import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from rich.console import Console

from truing.config.sections import Optimiser
from truing.core.errors import InterruptedRunError, RewardError, RunError
from truing.runs.interruption import StepAborted
from truing.runs.metrics import read_jsonl
from truing.runs.progress import LineProgress
from truing.training import journal as journal_module
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import Learner
from truing.training.timing import Stopwatch

STEPS = 6


def _learner(width: int = 3) -> Learner:
    weight = torch.nn.Parameter(torch.linspace(-1, 1, width))
    optimiser = Optimiser(learning_rate=0.1, warmup=0.5, weight_decay=0.01)
    return Learner([tiny.trained("policy", 0.1, weight)], optimiser, STEPS, 100)


def _step(learner: Learner, step: int) -> None:
    """A gradient that differs from step to step, so that moments matter."""
    (weight,) = learner._whole
    weight.grad = torch.sin(weight.detach() + step)
    learner.step()


def _job(place: Path, **checkpoints: Any) -> Job:
    return tiny.job(tiny.recipe(place, checkpoints=checkpoints), place, "sft")


def test_a_learner_put_back_goes_on_to_the_bit() -> None:
    undisturbed = _learner()
    for step in range(3):
        _step(undisturbed, step)
    taken_up = _learner()
    taken_up.restore(undisturbed.tensors())
    for step in range(3, STEPS):
        assert taken_up.learning_rate == undisturbed.learning_rate
        _step(undisturbed, step)
        _step(taken_up, step)
    ours, theirs = taken_up.tensors(), undisturbed.tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("other", [_learner(width=4).tensors(), {"steps": torch.tensor(1)}])
def test_the_weights_of_another_model_are_refused(other: dict[str, torch.Tensor]) -> None:
    with pytest.raises(RunError, match=r"lacks policy/weight\.0"):
        _learner().restore(other)


def test_what_came_after_the_checkpoint_is_forgotten(tmp_path: Path) -> None:
    job = _job(tmp_path, every_steps=2)
    with open_journal(job, _learner(), STEPS) as journal:
        for step in journal.remaining(3):
            journal.samples.append({"step": step})
            journal.log(step, {"loss": step / 10})
            journal.done(step, beta=step * 1.5)
        assert journal.step == 3
    with open_journal(job, _learner(), STEPS) as journal:
        assert next(journal.remaining(STEPS)) == 3
        assert journal.memory == {"beta": 3.0}
        assert journal.rows == [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.2}]
        assert journal.earlier_samples == [{"step": 1}, {"step": 2}]
        journal.log(3, {"other": 7})
        assert (journal.latest("loss"), journal.latest("other")) == (0.2, 7)
    assert [row["step"] for row in read_jsonl(job.directory.metrics)] == [1, 2, 3]


def test_a_figure_is_shown_with_the_step_of_which_it_is(tmp_path: Path) -> None:
    out = io.StringIO()
    job = replace(_job(tmp_path, every_steps=9), progress=LineProgress(Console(file=out)))
    with open_journal(job, _learner(), 2) as journal:
        journal.log(0, {"heldout_loss": 5.0})
        for step in journal.remaining(2):
            journal.log(step, {"loss": step / 10}, shown=("loss", "heldout_loss"))
            journal.done(step)
    told = [line.partition("loss")[1:] for line in out.getvalue().splitlines()]
    assert told == [("", ""), ("loss", " 0.1"), ("loss", " 0.2")]


def test_the_progress_of_a_stage_taken_up_begins_where_it_was_left(tmp_path: Path) -> None:
    out = io.StringIO()
    job = replace(_job(tmp_path, every_steps=1), progress=LineProgress(Console(file=out)))
    for _ in range(2):
        with open_journal(job, _learner(), STEPS) as journal:
            for step in journal.remaining(STEPS):
                journal.done(step)
    assert out.getvalue().splitlines()[-1] == "sft: all steps were done before"


def test_a_stage_taken_up_took_the_time_of_the_processes_before_up_to_their_checkpoint(tmp_path: Path) -> None:
    job = _job(tmp_path, every_steps=2)
    with open_journal(job, _learner(), STEPS) as journal:
        for step in journal.remaining(3):
            job.whole.add(100.0)
            journal.done(step)
    again = replace(job, whole=Stopwatch(), saving=Stopwatch())
    with open_journal(again, _learner(), STEPS):
        assert again.whole.seconds == 200.0
        assert 0.0 < again.saving.seconds <= job.saving.seconds


def test_minutes_make_a_checkpoint_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, begun, now = _job(tmp_path, every_minutes=5.0), time.monotonic(), [0.0]
    with open_journal(job, _learner(), STEPS) as journal:
        monkeypatch.setattr(journal_module.time, "monotonic", lambda: begun + now[0])
        for step, minute in enumerate([1, 4.9, 5.5, 6, 10, 11], start=1):
            now[0] = 60.0 * minute
            journal.done(step)
    assert sorted(path.name for path in job.directory.checkpoints.iterdir()) == ["step-00000003", "step-00000006"]


def test_a_stop_saves_the_step_and_ends_the_stage(tmp_path: Path) -> None:
    job = _job(tmp_path)
    with open_journal(job, _learner(), STEPS) as journal:
        journal.done(1)
        job.stop.signal_number = 15
        with pytest.raises(InterruptedRunError) as ended:
            journal.done(2)
    assert str(ended.value) == "interrupted, sft is saved after step 2. The same command goes on from there."
    assert ended.value.exit_code == 143
    assert [path.name for path in job.directory.checkpoints.iterdir()] == ["step-00000002"]


@pytest.mark.parametrize(
    ("learnt", "kept", "told"),
    [
        (False, 3, "sft is saved after step 3"),
        (True, 2, "sft is saved after step 2, and 1 more that was finished will be done again"),
    ],
)
def test_a_step_that_is_left_keeps_the_one_before_unless_learning_has_gone_on(
    learnt: bool, kept: int, told: str, tmp_path: Path
) -> None:
    job, learner, states = _job(tmp_path, every_steps=2), _learner(), {}

    def run() -> None:
        with open_journal(job, learner, STEPS) as journal:
            for step in (1, 2, 3):
                _step(learner, step)
                journal.samples.append({"step": step})
                journal.log(step, {"loss": step / 10})
                states[step] = learner.tensors()
                journal.done(step, beta=step * 1.5)
            job.stop.signal_number = 15
            journal.samples.append({"step": 4})
            journal.log(4, {"loss": 0.4})
            if learnt:
                _step(learner, 4)
            with suppress(StepAborted):
                job.stop.on_alarm(signal.SIGALRM, None)
            raise ValueError("what a library may make of it")

    with pytest.raises(InterruptedRunError, match=rf"^interrupted, {told}\. The same"):
        run()
    taken_up = _learner()
    with open_journal(job, taken_up, STEPS) as journal:
        assert (journal.step, journal.memory) == (kept, {"beta": kept * 1.5})
        assert [row["step"] for row in journal.rows] == list(range(1, kept + 1))
        assert [row["step"] for row in journal.earlier_samples] == list(range(1, kept + 1))
    found = taken_up.tensors()
    assert all(torch.equal(found[name], value) for name, value in states[kept].items())


def test_a_stage_with_no_step_left_that_lost_an_alarm_does_not_end_well(tmp_path: Path) -> None:
    job = _job(tmp_path, every_steps=1)
    with open_journal(job, _learner(), STEPS) as journal:
        journal.done(STEPS)
    job.stop.signal_number = signal.SIGTERM

    def finish() -> None:
        with open_journal(job, _learner(), STEPS) as journal, suppress(StepAborted):
            assert not list(journal.remaining(STEPS))
            job.stop.on_alarm(signal.SIGALRM, None)
        pytest.fail("the stage would be saved")

    with pytest.raises(InterruptedRunError, match=f"sft is saved after step {STEPS}"):
        finish()


def test_what_a_checkpoint_should_remember_and_does_not_is_an_error(tmp_path: Path) -> None:
    job = _job(tmp_path, every_steps=1)
    with open_journal(job, _learner(), STEPS) as journal:
        assert journal.recall("beta", 0.5) == 0.5
        journal.done(1, beta=2.0)
    with open_journal(job, _learner(), STEPS) as journal:
        assert journal.recall("beta", 0.5) == 2.0
        with pytest.raises(RunError, match="the checkpoint of step 1 lacks normalisations"):
            journal.recall("normalisations", None)


def test_logs_reach_the_disk_before_the_checkpoint_that_counts_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, events = _job(tmp_path, every_steps=1), list[str]()
    sync, rename = os.fsync, os.rename

    def named_sync(descriptor: int) -> None:
        events.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    def named_rename(source: Path, target: Path) -> None:
        events.append(Path(target).name)
        rename(source, target)

    with open_journal(job, _learner(), STEPS) as journal:
        journal.log(1, {"loss": 0.5})
        monkeypatch.setattr(os, "fsync", named_sync)
        monkeypatch.setattr(os, "rename", named_rename)
        journal.done(1)
        monkeypatch.undo()
    assert max(events.index("metrics.jsonl"), events.index("samples.jsonl")) < events.index("step-00000001")


def test_a_number_gone_wrong_is_told_with_stage_and_step(tmp_path: Path) -> None:
    def fail(where: str | None) -> None:
        with open_journal(_job(tmp_path), _learner(), STEPS) as journal:
            journal.log(1, {"loss": 0.5})
            journal.done(1)
            raise RewardError("returned nan.", where=where, hint="Mend it.")

    for where, told in ((None, "sft step 2: "), ("own.py:score", "sft step 2, own.py:score: ")):
        with pytest.raises(RewardError) as caught:
            fail(where)
        assert str(caught.value) == f"{told}returned nan. Mend it."
