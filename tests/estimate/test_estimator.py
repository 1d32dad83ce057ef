"""A recipe that does not fit is told what would make it fit."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

from truing.config.recipe import Recipe
from truing.config.sections import World
from truing.core import processor
from truing.core.errors import ModelError
from truing.estimate import estimator
from truing.estimate.changes import changed
from truing.estimate.dry_run import PRODUCTS_KEPT, Usage
from truing.estimate.estimator import KERNEL, KERNELS, KERNELS_A_STEP, Forecast, estimate
from truing.estimate.launches import Launch
from truing.estimate.work import Links
from truing.models.load import outline_base
from truing.preflight.layouts import Layout, Shape
from truing.processes.speed import Speed

Given = Callable[[int | None], None]


def _need(recipe: Recipe) -> float:
    """Bytes at the peak of a run that was made up: fewer tokens, recomputed layers and shared roles need less."""
    need = 4000.0 * (4 if recipe.roles == "separate" else 1) + recipe.compute.learn_tokens
    return need - 200 * recipe.compute.gradient_checkpointing - 1.0 * (not recipe.compute.pack_weights)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """Recipes of dry runs, which are not made: in ppo as much is held as is needed, elsewhere half of that."""
    recipes: list[Recipe] = []

    def made_up(recipe: Recipe, *_: object) -> dict[str, Usage]:
        recipes.append(recipe)
        need = _need(recipe)
        return {stage: Usage(need if stage == "ppo" else need / 2, need / 4, 1.0) for stage in recipe.stages}

    monkeypatch.setattr(estimator, "dry_run", made_up)
    return recipes


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Sets what the machine has."""
    monkeypatch.setattr(estimator, "bytes_of_copy", lambda *_: 0)
    return lambda memory: monkeypatch.setattr(estimator, "memory_of", lambda _: memory)


def test_the_peak_is_the_worst_stage_and_the_system_keeps_its_share() -> None:
    stages = {"sft": Usage(50.0, 10.0, 1.0), "ppo": Usage(80.0, 20.0, 1.0)}
    assert Forecast(stages, 7, 100).peak == 80
    assert Forecast(stages, 7, 100).fits
    assert not Forecast(stages, 7, 85).fits
    assert Forecast(stages, 7, None).fits


@pytest.mark.parametrize(
    ("parameters", "memory", "best"),
    [(10**6, 1000, "--processes 2"), (10**6, 170, ""), (10**6 - 1, 1000, ""), (10**6 - 1, 95, "--processes 4")],
)
def test_the_fastest_launch_that_fits_is_taken_and_one_process_where_the_base_is_small(
    parameters: int, memory: int, best: str
) -> None:
    """Of a machine's memory 90% may be taken, here by all processes together."""
    seconds = {Layout(data=2): (80, 3.0), Layout(): (90, 5.0), Layout(data=2, tensor=2): (20, 9.0)}
    found = [Launch(layout, {}, {"sft": float(peak)}, time) for layout, (peak, time) in seconds.items()]
    forecast = Forecast({"sft": Usage(90, 90, 5.0, 1)}, parameters, memory, launches=found)
    assert forecast.best is not None
    assert forecast.best.layout.options.startswith(best)
    assert bool(forecast.best.layout.options) == bool(best)
    assert [launch.layout for launch in forecast.slower] == [Layout(data=2, tensor=2)]


@pytest.mark.parametrize(
    ("threads", "speed", "times"),
    [
        # Of two processes each has half of 8 cores, of four a quarter.
        (None, Speed(0.0, float("inf"), 1.5), {1: 1.0, 2: 1.5 * 2 / 2, 4: 1.5 * 4 / 4}),
        # As many as the recipe says in each: four have two for each core, and wait for each other.
        (4, None, {1: 1.0, 2: 1 / 2, 4: 2.0 / 4}),
    ],
)
def test_several_processes_are_timed_on_the_threads_that_each_of_them_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threads: int | None, speed: Speed | None, times: dict[int, float]
) -> None:
    """In times of one process. A step takes 64 seconds, shared by its threads, and what is exchanged none."""
    tried: list[int | None] = []

    def made_up(recipe: Recipe, *_: object) -> dict[str, Usage]:
        tried.append(recipe.compute.threads)
        return {"sft": Usage(1.0, 1.0, 64 / (recipe.compute.threads or 8))}

    monkeypatch.setattr(estimator, "dry_run", made_up)
    monkeypatch.setattr(estimator, "measured_speed", lambda *_: speed)
    monkeypatch.setitem(estimator.ASSUMED, "cpu", Links(float("inf"), float("inf"), 4, 0.0))
    for module in (estimator, processor):
        monkeypatch.setattr(module, "cores", lambda: 8)
    monkeypatch.setattr(estimator.torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr("truing.config.defaults.THREADS_PAY_FROM", 0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    recipe = tiny.recipe(tmp_path, stages=["sft"], **{"compute.threads": threads, "sft.epochs": 1})
    found = estimate(recipe, Layout(data=4))
    rows_shared = {one.layout.processes: one for one in found.launches if one.layout == Layout(one.layout.data)}
    assert {count: one.seconds / found.seconds for count, one in rows_shared.items()} == pytest.approx(times)
    assert sorted(set(tried), key=str) == sorted({threads} if threads else {None, 4, 2}, key=str)


def test_what_fits_is_left_as_it_is(tried: list[Recipe], given: Given, tmp_path: Path) -> None:
    given(10**9)
    found = estimate(tiny.recipe(tmp_path))
    assert (found.fits, found.changes, found.peak_changed) == (True, {}, None)
    assert len(tried) == 1


def test_changes_are_named_that_make_it_fit_and_no_others(tried: list[Recipe], given: Given, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, roles="separate", **{"sft.method": "full"})
    given(5100)
    found = estimate(recipe)
    assert not found.fits
    assert found.would_fit
    # Neither what lowers nothing nor what lowers it by less than noise, and nothing once it fits.
    assert found.changes == {"compute.learn_tokens": 512, "roles": "shared"}
    made = changed(recipe, found.changes)
    assert made is not None
    assert found.peak_changed == _need(made)


def test_what_never_fits_is_said_with_the_lowest_peak(tried: list[Recipe], given: Given, tmp_path: Path) -> None:
    given(1)
    found = estimate(tiny.recipe(tmp_path))
    assert not found.would_fit
    assert found.peak_changed is not None
    assert found.peak_changed < found.peak


def test_a_run_that_runs_out_of_memory_needs_more_than_there_is(
    given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(recipe: Recipe, *_: object) -> dict[str, Usage] | None:
        return {"ppo": Usage(10.0, 1.0, 1.0)} if recipe.compute.gradient_checkpointing else None

    monkeypatch.setattr(estimator, "dry_run", fails)
    given(100)
    rewards = [{"kind": "function", "path": "letters:letter_a"}]
    found = estimate(tiny.recipe(tmp_path, stages=["ppo"], **{"rewards.sources": rewards}))
    assert found.peak == float("inf")
    assert found.changes == {"compute.gradient_checkpointing": True}
    assert found.would_fit


def test_a_copy_that_cannot_be_held_is_not_even_tried(
    tried: list[Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(estimator, "memory_of", lambda _: 1000)
    found = estimate(tiny.recipe(tmp_path))
    assert (found.peak, found.changes, tried) == (float("inf"), {}, [])


def test_figures_are_those_of_all_layers_and_of_the_average_row(
    given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A layer holds 5 bytes, of which 3 are counted, and a step takes 2 more by count. What it takes besides, 7 or 8,
    is no layer's, though the copy of one layer has more of it than that of three.
    """

    def grows(recipe: Recipe, *_: object) -> dict[str, Usage]:
        assert recipe.base is not None
        layers = outline_base(recipe.base, recipe.compute).model.config.num_hidden_layers
        held = 50.0 + 5 * layers
        return {"sft": Usage(held + 2 * layers + (8 if layers == 1 else 7), held, 2.0 * layers)}

    def counted(shape: Shape, *_: object) -> SimpleNamespace:
        return SimpleNamespace(kept=3.0 * shape.layers, peak_on_cpu=5.0 * shape.layers)

    monkeypatch.setattr(estimator, "dry_run", grows)
    monkeypatch.setattr(estimator, "held_by_count", counted)
    given(None)
    recipe = tiny.recipe(tmp_path, stages=["sft"])
    config = tiny.model().config
    config.num_hidden_layers = 12
    type(tiny.model())(config).save_pretrained(tmp_path / "base")
    usage = estimate(recipe).stages["sft"]
    assert (usage.peak, usage.held) == (50 + 5 * 12 + 2 * 12 + 8, 110)
    assert 0.8 * 24 < usage.seconds <= 24

    def not_told(_: object) -> Shape:
        raise ModelError("no layers.", code="model/layers", hint="")

    monkeypatch.setattr(estimator, "shape_of", not_told)
    assert estimate(recipe).stages["sft"].peak == 65 + 11 * (78 - 65) / 2  # as much more as between the copies


def test_products_that_one_dnn_compiles_are_added_stage_by_stage(
    tried: list[Recipe], given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given(None)
    recipe = tiny.recipe(tmp_path)
    monkeypatch.setattr(estimator, "suits", lambda weight: weight.numel() > 16 * 16)  # those of its vocabulary
    stages = estimate(recipe).stages
    steps = [6, 6 + 6, 6 + 6 + 2]
    needs = [_need(recipe) * share for share in (0.5, 0.5, 1.0)]
    for usage, step, need in zip(stages.values(), steps, needs, strict=True):
        assert usage.peak == pytest.approx(need + KERNEL * (KERNELS_A_STEP * step - PRODUCTS_KEPT))
    long = tiny.recipe(tmp_path / "long", **{"sft.epochs": 1000})
    assert estimate(long).stages["sft"].peak == pytest.approx(needs[0] + KERNEL * (KERNELS - PRODUCTS_KEPT))


def test_a_change_really_lowers_the_peak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Measured, on a base of 20 MB."""
    recipe = tiny.recipe(tmp_path, stages=["sft"], **{"sft.method": "full"})
    tiny.directory(tmp_path / "base", width=640)
    monkeypatch.setattr(estimator, "memory_of", lambda _: 5 * 10**8)
    monkeypatch.setattr(estimator, "candidates", lambda _: [("compute.score_tokens", 1), ("sft.method", "lora")])
    found = estimate(recipe)
    assert found.changes == {"sft.method": "lora"}
    assert found.peak_changed is not None
    assert found.peak_changed < found.peak


def test_a_recipe_on_the_embedded_world_is_tried_without_a_run_of_its_own(tmp_path: Path) -> None:
    found = estimate(Recipe(world=World(demonstrations=40, preferences=40, prompts=100)))
    assert list(found.stages) == ["sft", "reward", "ppo"]
    assert all(usage.held <= usage.peak and usage.seconds > 0 for usage in found.stages.values())


def test_a_base_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    (tmp_path / "base" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="no causal language model could be loaded from here"):
        estimate(recipe)


def test_layers_that_cannot_be_told_apart_are_refused_where_the_recipe_asks_for_the_upper_ones(
    monkeypatch: pytest.MonkeyPatch, tried: list[Recipe], given: Given, tmp_path: Path
) -> None:
    given(1)
    monkeypatch.setattr("truing.kernels.backbone.decoder_layers", lambda _: None)
    with pytest.raises(ModelError, match="not one list"):
        estimate(tiny.recipe(tmp_path / "half", **{"lora.layers": 0.5}))
    assert "lora.layers" not in estimate(tiny.recipe(tmp_path / "all")).changes
