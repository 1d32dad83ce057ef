"""What is on a grid, and what is refused of it."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config import load_recipe
from truing.config.recipe import Recipe
from truing.core.errors import RecipeError
from truing.sweep.grid import Point, read_grid
from truing.sweep.trials import shared_stages, trials_of


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.recipe_file(tmp_path_factory.mktemp("grid"))


def grid(file: Path, *overrides: str) -> list[Point]:
    return read_grid(overrides, lambda given: load_recipe(file, given))


def spots(file: Path, *overrides: str) -> list[tuple[str, str | None]]:
    with pytest.raises(RecipeError) as refused:
        grid(file, *overrides)
    return [(problem.code, problem.where) for problem in refused.value.problems]


def test_a_grid_has_every_combination_in_the_order_of_its_values(file: Path) -> None:
    points = grid(file, "ppo.kl.beta=1.0,0.1", "ppo.epochs=1,3", "sft.epochs=1")
    assert [point.label for point in points] == [
        "ppo.kl.beta=1.0, ppo.epochs=1",
        "ppo.kl.beta=1.0, ppo.epochs=3",
        "ppo.kl.beta=0.1, ppo.epochs=1",
        "ppo.kl.beta=0.1, ppo.epochs=3",
    ]
    found = [(one.recipe.ppo.kl.beta, one.recipe.ppo.epochs, one.recipe.sft.epochs) for one in points]
    assert found == [(1.0, 1, 1), (1.0, 3, 1), (0.1, 1, 1), (0.1, 3, 1)]


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("ppo.kl.beta=1e-3,0.5", [1e-3, 0.5]),
        ("lora.targets=[q_proj,v_proj],all-linear", [["q_proj", "v_proj"], "all-linear"]),
        ("ppo.kl={beta: 0.1},{beta: 0.2}", [{"beta": 0.1}, {"beta": 0.2}]),
        ("ppo.whiten_rewards=true,false", [True, False]),
    ],
)
def test_values_are_those_of_a_yaml_list(file: Path, override: str, values: list[Any]) -> None:
    key = override.partition("=")[0]
    for point, value in zip(grid(file, override), values, strict=True):
        found = point.values[key]
        assert (found if not isinstance(value, dict) else {name: found[name] for name in value}) == value


def test_a_list_that_is_one_value_makes_no_grid(file: Path) -> None:
    (point,) = grid(file, "lora.targets=[q_proj,v_proj]")
    assert point.recipe.lora.targets == ["q_proj", "v_proj"]
    assert point.label == ""


def test_a_variant_is_one_more_point_and_one_that_says_the_same_is_none(tmp_path: Path) -> None:
    file = tiny.recipe_file(tmp_path, variants={"free": {"ppo.kl.beta": 0.0}, "same": {"ppo.kl.beta": 0.5}})
    points = grid(file, "ppo.kl.beta=0.5,1.0")
    assert [point.label for point in points] == ["ppo.kl.beta=0.5", "ppo.kl.beta=0.0", "ppo.kl.beta=1.0"]
    assert all(point.recipe.variants == {} for point in points)
    again = [load_recipe(file, point.overrides) for point in points]
    assert again == [point.recipe for point in points]


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (["ppo.kl.beta=0.1,-1,no"], ["--set ppo.kl.beta=-1", '--set ppo.kl.beta="no"']),
        (["ppo.bta=1,2"], ["--set ppo.bta=1", "--set ppo.bta=2"]),
        (["ppo.kl.beta=0.1,0.2", "ppo.epochs=0"], ["--set ppo.epochs=0"]),
    ],
)
def test_what_is_wrong_with_a_point_is_told_once_with_its_place(
    file: Path, overrides: list[str], found: list[str]
) -> None:
    told = [where for _, where in spots(file, *overrides)]
    assert len(told) == len(found)
    assert all(place in (where or "") for place, where in zip(found, told, strict=True))


def test_a_point_is_named_where_its_values_do_not_go_together(file: Path) -> None:
    ((_, where),) = spots(file, "ppo.episodes=8,12", "ppo.minibatches=4,8")
    assert where is not None
    assert where.endswith("ppo.episodes=12, ppo.minibatches=8")


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        (["seed=1,2"], "recipe/swept-seed"),
        (["ppo.kl.beta=0.1,1e-1"], "recipe/doubled-value"),
        (["checkpoints.keep_last=1,2"], "recipe/idle-axis"),
        (["dpo.beta=0.1,0.2"], "recipe/idle-axis"),
        (["stages=[sft]"], "recipe/no-policy"),
    ],
)
def test_a_grid_that_would_compare_nothing_is_refused(file: Path, overrides: list[str], code: str) -> None:
    assert [found for found, _ in spots(file, *overrides)] == [code]


def test_runs_share_the_stages_that_nothing_concerns_in_which_they_differ(file: Path) -> None:
    points = grid(file, "reward.epochs=1,2", "ppo.kl.beta=0.1,0.2")
    (first, beta, reward, *_), others = trials_of(points, 1, Path("out")), trials_of(points, 2, Path("out"))
    assert shared_stages(first, beta) == ["sft", "reward"]
    assert shared_stages(first, reward) == ["sft"]
    assert shared_stages(first, others[4]) == []  # of another seed
    assert first.root == Path("out/reward.epochs=1,ppo.kl.beta=0.1/seed-17")
    assert [trial.recipe.seed for trial in others] == [17] * 4 + [18] * 4


@pytest.mark.parametrize("path", ["../../elsewhere", "/absolute", "a b", "x" * 200])
def test_no_value_leads_out_of_the_directory(path: str) -> None:
    recipe = Recipe()
    points = [Point((), recipe, {"base.path": value}) for value in (path, f"{path}-")]
    one, other = (trial.root for trial in trials_of(points, 1, Path("out")))
    assert one.parent.parent == other.parent.parent == Path("out")
    assert one != other
    assert len(one.parent.name) < 120
