"""Time grows with layers and with how often something is done; compiling is counted where it happens."""

import time

import pytest
import tiny
import torch

from truing.doctor import stopwatch, tasks
from truing.doctor.passes import Shape
from truing.doctor.phase import Work
from truing.doctor.shadow import Shadow
from truing.models.roles import Role
from truing.recipe import Compute, Lora, Optimiser


@pytest.fixture
def shadow() -> Shadow:
    return Shadow(tiny.model().to("meta"), Lora(), cpu=True)


@pytest.mark.parametrize("trained", ["full", "adapter", "frozen"])
def test_every_task_runs_on_random_weights(trained: str, shadow: Shadow) -> None:
    shape = Shape(2, 6, 4)
    work = [tasks.reading(shape), tasks.comparing(), tasks.sampling(3, 4, 2, pack=True)]
    if trained != "frozen":
        work += [tasks.learning([shape], head) for head in (False, True)]
        work.append(tasks.stepping(Optimiser(learning_rate=1e-3), Compute()))
    for task in work:
        assert stopwatch.seconds(Work(task, trained, shadow.layers), shadow, None) > 0


def test_all_responses_are_as_long_as_they_may_become(shadow: Shadow) -> None:
    with torch.device("cpu"):
        role = Role(tiny.model())
    rollout = tasks.sampling(3, 4, 5, pack=False)(role)()
    assert rollout.sequences.response_lengths.tolist() == [5, 5, 5]  # type: ignore[attr-defined]
    assert len(set(map(tuple, rollout.sequences.prompts))) == 3  # type: ignore[attr-defined]


def test_time_is_that_of_the_layers_and_compiling_has_its_share(
    shadow: Shadow, monkeypatch: pytest.MonkeyPatch
) -> None:
    laps = iter([(5.0, 2.0), (9.0, 4.0)] * 2)
    monkeypatch.setattr(stopwatch, "_lap", lambda _: next(laps))
    monkeypatch.setattr(Shadow, "sizes", (1, 3))
    task = tasks.comparing()
    assert stopwatch.seconds(Work(task, "frozen", layers=5, times=10), shadow, None) == 10 * (2 + 4 * 1)
    assert stopwatch.seconds(Work(task, "frozen", 1, 10, fresh=0.5), shadow, None) == 10 * (2 + 0.5 * 5)


def test_the_first_time_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 9.0, 10.0, 12.0, 20.0, 23.0, 30.0, 31.0])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(clock))
    assert stopwatch._lap(lambda: None) == (9 - 2, 2)


def test_threads_are_those_of_the_recipe_while_it_is_measured(shadow: Shadow) -> None:
    before, seen = torch.get_num_threads(), []

    def task(_: Role) -> object:
        return lambda: (seen.append(torch.get_num_threads()), time.sleep(0.1))

    stopwatch.seconds(Work(task, "frozen", 1), shadow, threads=1)  # type: ignore[arg-type]
    assert set(seen) == {1}
    assert torch.get_num_threads() == before
