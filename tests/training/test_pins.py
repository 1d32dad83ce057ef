"""A stage that goes back to the checkpoint that it pinned has all that it had then, and keeps it while others go."""

import os
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from truing.config.sections import Optimiser
from truing.core.errors import RunError
from truing.runs.checkpoints import TENSORS
from truing.runs.metrics import read_jsonl
from truing.training.job import Job
from truing.training.journal import Journal, open_journal
from truing.training.learner import Learner

STEPS = 6


def _learner() -> Learner:
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 3))
    return Learner([tiny.trained("policy", 0.1, weight)], Optimiser(learning_rate=0.1), STEPS, 100)


def _job(place: Path, **checkpoints: Any) -> Job:
    return tiny.job(tiny.recipe(place, checkpoints=checkpoints), place, "sft")


def _learn(journal: Journal, learner: Learner, steps: range) -> dict[int, dict[str, torch.Tensor]]:
    """So many steps, each with a line in both logs; the learner's tensors after each."""
    states = {}
    for step in steps:
        for weight in learner._whole:
            weight.grad = torch.sin(weight.detach() + step)
        learner.step()
        journal.samples.append({"step": step})
        journal.log(step, {"loss": step / 10})
        journal.done(step, beta=step * 1.5)
        states[step] = learner.tensors()
    return states


def _equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _checkpoints(job: Job) -> list[str]:
    return sorted(path.name for path in job.directory.checkpoints.glob("step-*"))


def test_a_stage_that_goes_back_has_all_that_it_had_when_it_pinned_and_learns_the_same_again(tmp_path: Path) -> None:
    job, learner = _job(tmp_path, every_steps=1, keep_last=1), _learner()
    with open_journal(job, learner, STEPS) as journal:
        states = _learn(journal, learner, range(1, 3))
        journal.pin()
        states |= _learn(journal, learner, range(3, 5))
        assert _checkpoints(job) == ["step-00000002", "step-00000004"]  # one is kept, and the one that is pinned
        journal.roll_back("the judge fell")
        assert (journal.step, journal.memory, _checkpoints(job)) == (2, {"beta": 3.0}, ["step-00000002"])
        assert _equal(learner.tensors(), states[2])
        assert [row["step"] for row in journal.rows] == [1, 2]
        assert next(journal.remaining(STEPS)) == 3
        assert _equal(_learn(journal, learner, range(3, 5))[4], states[4])
    for log in (job.directory.metrics, job.directory.samples):
        assert [row["step"] for row in read_jsonl(log)] == [1, 2, 3, 4]


def test_a_stage_that_is_killed_right_after_it_went_back_goes_on_from_there(tmp_path: Path) -> None:
    job, learner = _job(tmp_path, every_steps=1), _learner()
    with open_journal(job, learner, STEPS) as journal:
        states = _learn(journal, learner, range(1, 3))
        journal.pin()
        _learn(journal, learner, range(3, 5))
        journal.roll_back("the judge fell")
    taken_up = _learner()
    with open_journal(job, taken_up, STEPS) as journal:
        assert (journal.step, journal.memory) == (2, {"beta": 3.0})
        assert [row["step"] for row in journal.earlier_samples] == [1, 2]
        assert _equal(taken_up.tensors(), states[2])
        _learn(journal, taken_up, range(3, 4))
        journal.roll_back("it fell again")  # what was pinned in an earlier life is still pinned
        assert journal.step == 2


def test_pinning_saves_a_step_that_was_not_and_the_one_pinned_before_is_as_any_other_again(tmp_path: Path) -> None:
    job, learner = _job(tmp_path, every_steps=3, keep_last=1), _learner()
    with open_journal(job, learner, STEPS) as journal:
        _learn(journal, learner, range(1, 2))
        assert _checkpoints(job) == []
        journal.pin()
        assert _checkpoints(job) == ["step-00000001"]
        _learn(journal, learner, range(2, 4))
        journal.pin()
        _learn(journal, learner, range(4, 7))
        assert _checkpoints(job) == ["step-00000003", "step-00000006"]


@pytest.mark.parametrize("damaged", [False, True])
def test_there_is_no_going_back_where_nothing_whole_is_pinned(damaged: bool, tmp_path: Path) -> None:
    job, learner = _job(tmp_path, every_steps=1), _learner()

    def back() -> None:
        with open_journal(job, learner, STEPS) as journal:
            _learn(journal, learner, range(1, 3))
            if damaged:
                journal.pin()
                os.truncate(job.directory.checkpoints / "step-00000002" / TENSORS, 10)
            journal.roll_back("the judge fell")

    with pytest.raises(RunError) as refused:
        back()
    assert str(job.directory.checkpoints) in str(refused.value.where)
    assert refused.value.hint
