"""Time grows with layers and with how often something is done; compiling is counted where it happens."""

from contextlib import nullcontext

import pytest
import tiny
import torch
from transformers import LlamaForCausalLM

from truing.config.sections import Compute, Lora, Optimiser
from truing.doctor import shadow as shadows
from truing.doctor import stopwatch, tasks
from truing.doctor.passes import Shape
from truing.doctor.phase import Work
from truing.doctor.shadow import Depths, Shadow
from truing.models.roles import Role


@pytest.fixture
def shadow() -> Shadow:
    return Shadow(tiny.model().to("meta"), Lora(), cpu=True)


@pytest.mark.parametrize("trained", ["full", "adapter", "frozen"])
def test_every_task_runs_on_random_weights(trained: str, shadow: Shadow) -> None:
    shape = Shape(2, 6, 4)
    work = [tasks.reading(shape), tasks.comparing(), tasks.laying_out()]
    work += [task(3, 4, pack) for pack in (False, True) for task in (tasks.prefilling, tasks.decoding)]
    if trained != "frozen":
        work += [tasks.learning([shape], head) for head in (False, True)]
        work.append(tasks.stepping(Optimiser(learning_rate=1e-3), Compute()))
    for task in work:
        assert stopwatch.seconds(Work(task, trained, shadow.layers), shadow, None) > 0


@pytest.mark.parametrize("pack", [False, True])
def test_a_token_can_be_decoded_as_often_as_is_said(pack: bool) -> None:
    with tasks.decoding(3, 4, pack)(Role(tiny.model())) as step:
        for _ in range(tasks.TIMES):
            step()


def test_time_is_that_of_the_layers(shadow: Shadow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "_laps", lambda _: [2.0, 4.0])
    shadow.timed = Depths(1, 3)
    task = tasks.comparing()
    assert stopwatch.seconds(Work(task, "frozen", layers=5, times=10), shadow, None) == 10 * (2 + 4 * 1)
    assert stopwatch.seconds(Work(task, "frozen", layers=1, times=10), shadow, None) == 10 * 2


def test_the_first_time_does_not_count_and_of_the_others_the_middle_one(monkeypatch: pytest.MonkeyPatch) -> None:
    few, more = iter([9.0, 2.0, 8.0, 1.0]), iter([7.0, 4.0, 5.0, 3.0])
    monkeypatch.setattr(stopwatch, "_lap", lambda action: action())
    assert stopwatch._laps([lambda: next(few), lambda: next(more)]) == [2, 4]


@pytest.mark.parametrize(("layers", "deepest"), [(2, 2), (5, 5), (7, 7), (20, 7)])
def test_copies_have_as_many_layers_as_weigh_little(layers: int, deepest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny.model().config
    config.num_hidden_layers = layers
    config.layer_types = None
    model = LlamaForCausalLM(config).to("meta")
    layer = sum(weight.nbytes for weight in model.base_model.layers[0].parameters())
    rest = sum(weight.nbytes for weight in model.parameters()) - layers * layer
    monkeypatch.setattr(shadows, "TIMED_BYTES", rest + 7.5 * layer)
    assert Shadow(model, Lora(), cpu=True).timed == Depths(1, deepest)


def test_short_actions_are_done_longer_but_not_more_often_than_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[None] = []
    monkeypatch.setattr(stopwatch, "_lap", lambda action: action())
    stopwatch._laps([lambda: times.append(None) or 1e-6])  # type: ignore[func-returns-value]
    assert len(times) == tasks.TIMES


def test_threads_are_those_of_the_recipe_while_it_is_measured(shadow: Shadow) -> None:
    before, seen = torch.get_num_threads(), []

    def task(_: Role) -> object:
        return nullcontext(lambda: seen.append(torch.get_num_threads()))

    stopwatch.seconds(Work(task, "frozen", 1), shadow, threads=1)  # type: ignore[arg-type]
    assert set(seen) == {1}
    assert torch.get_num_threads() == before
