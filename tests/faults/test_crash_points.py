"""A stage is killed at every write, fsync, rename and removal there is in it, and always ends as if it had not been."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import tiny
import torch
from faults.crash_points import killed_at
from safetensors.torch import save_file

from truing.config.sections import Optimiser
from truing.runs.directory import StageDirectory
from truing.runs.files import remove, write_json
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import Learner

pytestmark = pytest.mark.long

STEPS = 2


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Saves after each step and keeps one checkpoint, so that every save removes one."""
    place = tmp_path_factory.mktemp("recipe")
    return tiny.job(tiny.recipe(place, checkpoints={"every_steps": 1, "keep_last": 1}), place, "sft")


def _at(place: Path, job: Job) -> Job:
    """The same in another directory, as the run's command begins it."""
    files = StageDirectory(place / job.name)
    files.root.mkdir(parents=True, exist_ok=True)
    files.reset()
    return replace(job, directory=files)


def run_stage(job: Job, place: Path) -> None:
    """All that a stage does to the disk: steps, logs, checkpoints, a model, a result. Goes on where it was."""
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 3))
    learner = Learner([tiny.trained("policy", 0.1, weight)], Optimiser(learning_rate=0.1), STEPS, 100)
    job = _at(place, job)
    with open_journal(job, learner, STEPS) as journal:
        beta = journal.memory.get("beta", 1.0)
        for step in journal.remaining(STEPS):
            weight.grad = torch.sin(weight.detach() + step)
            learner.step()
            beta *= 1.1
            journal.samples.append({"step": step, "response": "x" * step})
            journal.log(step, {"loss": float(weight.detach().sum()), "beta": beta})
            journal.done(step, beta=beta)
    with job.saved(job.directory.model) as model:
        save_file(learner.tensors(), model / "model.safetensors")
    write_json(job.directory.result, {"beta": beta})
    remove(job.directory.checkpoints)


def run_guarded(job: Job, place: Path) -> None:
    """Pins its second step, goes back to it from the third, and takes the third otherwise then."""
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 3))
    learner = Learner([tiny.trained("policy", 0.1, weight)], Optimiser(learning_rate=0.1), 3, 100)
    job = _at(place, job)
    with open_journal(job, learner, 3) as journal:
        beta = journal.memory.get("beta", 1.0)
        while journal.step < 3 or beta == 1.0:
            if journal.step == 3:
                journal.roll_back("it moved too far")
                beta = 2.0
            elif journal.step == 2:
                journal.pin()
            step = journal.step + 1
            weight.grad = torch.sin(weight.detach() + beta * step)
            learner.step()
            journal.samples.append({"step": step, "response": "x" * step})
            journal.log(step, {"loss": float(weight.detach().sum()), "beta": beta})
            journal.done(step, beta=beta)
    save_file(learner.tensors(), job.directory.root / "weights.safetensors")
    remove(job.directory.checkpoints)


def content(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(job: Job, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("undisturbed")
    run_stage(job, place)
    files = content(place)
    names = ("metrics.jsonl", "model/model.safetensors", "result.json", "samples.jsonl")
    assert sorted(files) == [f"sft/{name}" for name in names]
    return files


def kills(job: Job, root: Path, stride: int = 1, stage: Callable[[Job, Path], None] = run_stage) -> Iterator[Path]:
    """A directory in which a stage died at its first crash point, one in which it died at its second, and so on."""
    for point in count(1, stride):
        place = root / str(point)
        if not killed_at(point, lambda place=place: stage(job, place)):  # type: ignore[misc]
            return
        yield place


def test_killed_at_any_point_it_ends_as_if_it_had_not_been(
    job: Job, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    points = 0
    for place in kills(job, tmp_path):
        points += 1
        run_stage(job, place)
        assert content(place) == undisturbed, place.name
    assert points > 25 * STEPS


def test_killed_again_while_it_is_taken_up(job: Job, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """Each dies a second time early in its second life: at a point that differs from one to the next."""
    again = 0
    for number, place in enumerate(kills(job, tmp_path, stride=3)):
        again += killed_at(1 + 2 * number % 17, lambda place=place: run_stage(job, place))  # type: ignore[misc]
        run_stage(job, place)
        assert content(place) == undisturbed, place.name
    assert again > 10


def test_killed_at_any_point_of_a_stage_that_goes_back_it_ends_as_if_it_had_not_been(job: Job, tmp_path: Path) -> None:
    run_guarded(job, tmp_path / "undisturbed")
    undisturbed, points = content(tmp_path / "undisturbed"), 0
    for place in kills(job, tmp_path, stage=run_guarded):
        points += 1
        run_guarded(job, place)
        assert content(place) == undisturbed, place.name
    assert points > 4 * 15
