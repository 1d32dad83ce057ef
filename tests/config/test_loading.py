from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truing.config import load_recipe, read_recipe, recorded_recipe, resolved_yaml
from truing.config.algorithms import Kl, Ppo, Sft
from truing.config.recipe import Recipe
from truing.config.sections import (
    LARGEST,
    MOST,
    SMALLEST,
    Base,
    Compute,
    Evaluation,
    Lora,
    MissingEos,
    Optimiser,
    RewardConfig,
    Rewards,
    World,
)
from truing.core.errors import RecipeError

WORLD = "world: {}\n"


def test_a_recipe_names_only_what_differs(load: Any) -> None:
    recipe = load("world: {prompts: 5}\nppo:\n  kl: {beta: 1e-3}\n  optimiser: {warmup: 0.5}\n")
    assert recipe.world == World(prompts=5)
    assert recipe.ppo.kl == Kl(beta=0.001)
    assert recipe.ppo.optimiser == Ppo().optimiser.model_copy(update={"warmup": 0.5})
    assert recipe.sft == Sft()


@pytest.mark.parametrize(
    "text",
    [
        "world: {}\nsft:\nppo: {kl: }\nvariants:\n",
        "\ufeffworld: {}\n",
        "world: {}\r\nsft: ~\r\n",
    ],
)
def test_empty_sections_byte_order_marks_and_line_ends_of_windows_are_sound(load: Any, text: str) -> None:
    assert load(text) == Recipe(world=World())


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("", "empty", None),
        ("# nothing\n", "empty", None),
        ("[1]", "no-sections", None),
        ("world", "no-sections", None),
        (WORLD.encode("utf-16"), "not-utf-8", None),
        (b"world: {}\nname: \xff", "not-utf-8", None),
        ("a: [1,\n2", "yaml", 2),
    ],
)
def test_a_file_that_holds_no_recipe_is_named(spots: Any, text: str | bytes, code: str, line: int | None) -> None:
    assert spots(text) == [(code, None, f"r.yaml:{line}" if line else "r.yaml")]


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "none.yaml", "recipe/no-such-file"), (tmp_path, "recipe/unreadable")):
        with pytest.raises(RecipeError) as caught:
            load_recipe(path)
        assert (caught.value.code, caught.value.where) == (code, str(path))


def test_all_problems_are_found_together_each_with_its_line(spots: Any) -> None:
    text = """world: {}
sead: 3
ppo:
  gamma: 2
  kl:
    controler: adaptive
    beta: no
stages: [sft, reward, ppo, rm]
ppo: {}
"""
    assert spots(text, "seed=x", "nonsense", "reward.epochs=0") == [
        ("unknown-key", "sead", "r.yaml:2"),
        ("wrong-value", "stages.3", "r.yaml:8"),
        ("yaml", "ppo", "r.yaml:9"),
        ("bad-override", None, "--set nonsense"),
        ("wrong-type", "seed", "--set seed=x"),
        ("wrong-value", "reward.epochs", "--set reward.epochs=0"),
    ]
    fields = [field for _, field, _ in spots(text.replace("\nppo: {}", ""))]
    assert fields == ["sead", "ppo.gamma", "ppo.kl.controler", "ppo.kl.beta", "stages.3"]


def test_no_more_than_twenty_problems_are_described(problems: Any) -> None:
    *described, rest = problems(WORLD + "".join(f"key{number}: 1\n" for number in range(25)))
    assert len(described) == 20
    assert (rest.code, rest.what) == ("recipe/more", "... and 5 more.")


def test_what_could_not_be_read_is_one_problem(spots: Any) -> None:
    assert spots(WORLD + "seed: !!int x\n") == [("yaml", "seed", "r.yaml:2")]


WRONG = """
base: {path: org/model}
data: {demonstrations: {path: org/rows}, preferences: {path: 5}, heldout_preferences: {path: org/more}, max_length: 7}
sft: {epochs: 0, batch_size: 5}
ppo: {episodes: 10, minibatches: 3, gamma: 0.5}
compute: 3
stages: [sft, sleep]
evaluation: {prompts: 0, judges: {one: "m:f", two: 2}}
variants: {good: {ppo.gamma: 0.5}, bad: {ppo.gamma: high}, none: 3}
bogus: 1
"""


def test_what_is_sound_of_a_recipe_is_there_beside_its_problems(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(WRONG)
    recipe, problems = read_recipe(path)
    assert problems.count == 10
    assert recipe.base == Base(path="org/model")
    assert set(recipe.data.sources) == {"demonstrations", "heldout_preferences"}
    assert recipe.data.max_length == 7
    assert recipe.sft == Sft(batch_size=5)
    assert (recipe.ppo, recipe.compute, recipe.stages) == (Ppo(), Compute(), Recipe().stages)
    assert (recipe.evaluation.prompts, recipe.evaluation.judges) == (Evaluation().prompts, {"one": "m:f"})
    assert list(recipe.variants) == ["good"]
    with pytest.raises(RecipeError):
        load_recipe(path)


def test_what_a_run_recorded_is_read_without_a_look_at_what_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = tmp_path / "recipe.yaml"
    path.write_text(resolved_yaml(Recipe(base=Base(path="model"))))  # no rows: what was begun is not checked again
    assert recorded_recipe(path) == Recipe(base=Base(path="model"))
    path.write_text("base: {path: 3}\nseed: x")
    with pytest.raises(RecipeError) as caught:
        recorded_recipe(path)
    assert [problem.where for problem in caught.value.problems] == [f"{path}:1", f"{path}:2"]


def test_paths_are_meant_from_the_file_and_else_left_alone(tmp_path: Path, load: Any) -> None:
    (tmp_path / "model").mkdir()
    for name in ("rows.jsonl", "judge.py"):
        (tmp_path / name).touch()
    recipe = load(
        """
base: {path: ./model}
data: {demonstrations: {path: rows.jsonl}, preferences: {path: org/name}}
evaluation: {judges: {mine: "judge.py:f", other: "package.judge:f"}}
rewards: {sources: [{kind: stage}, {kind: model, path: model}, {kind: function, path: "judge.py:g"}]}
variants: {a: {rewards: {sources: [{kind: model, path: model}]}}}
""",
        "data.heldout_demonstrations.path=rows.jsonl",
    )
    model, judge = str(tmp_path / "model"), str(tmp_path / "judge.py")
    assert recipe.base == Base(path=model)
    assert recipe.data.demonstrations.path == str(tmp_path / "rows.jsonl")
    assert recipe.data.preferences.path == "org/name"
    assert recipe.data.heldout_demonstrations.path == "rows.jsonl"
    assert recipe.evaluation.judges == {"mine": f"{judge}:f", "other": "package.judge:f"}
    assert [source.path for source in recipe.rewards.sources] == [None, model, f"{judge}:g"]
    assert recipe.variants["a"]["rewards.sources"][0]["path"] == model


TEXT = st.text(min_size=1)
SEED = st.integers(1, 10**29)
COUNT = st.integers(1, MOST)
RATE = st.floats(SMALLEST, LARGEST)
FUNCTION = TEXT.map(lambda text: f"none/{text}:f")
ANY_RECIPE = st.builds(
    Recipe,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True),
    seed=SEED,
    world=st.builds(World, prompts=COUNT),
    lora=st.builds(Lora, alpha=RATE, targets=TEXT | st.lists(TEXT)),
    sft=st.builds(Sft, optimiser=st.builds(Optimiser, learning_rate=RATE, warmup=st.floats(0, 1))),
    ppo=st.builds(Ppo, kl=st.builds(Kl, beta=RATE | st.just(0.0))),
    rewards=st.builds(
        Rewards,
        missing_eos=st.builds(MissingEos, value=st.floats(-LARGEST, LARGEST)),
        sources=st.lists(st.builds(RewardConfig, kind=st.just("function"), path=FUNCTION), min_size=1),
    ),
    evaluation=st.builds(Evaluation, judges=st.dictionaries(TEXT.filter(lambda name: "." not in name), FUNCTION)),
    variants=st.dictionaries(
        st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True),
        st.fixed_dictionaries({"ppo.kl.beta": RATE, "ppo.gamma": st.just(0.5)}),
    ),
)


@settings(max_examples=25)
@given(recipe=ANY_RECIPE)
def test_a_resolved_recipe_loads_as_the_same_recipe(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.getbasetemp() / "resolved.yaml"
    path.write_text(resolved_yaml(recipe), encoding="utf-8", newline="\n")
    assert load_recipe(path) == recipe


def test_a_resolved_recipe_names_every_field_in_order() -> None:
    lines = resolved_yaml(Recipe(world=World())).splitlines()
    assert [line.partition(":")[0] for line in lines if line[0].isalpha()] == ["schema", *Recipe.model_fields]
