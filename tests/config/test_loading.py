from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truing.config import load_recipe, resolved_yaml
from truing.config.algorithms import Kl, Ppo, Sft
from truing.config.recipe import Recipe
from truing.config.sections import LARGEST, MOST, SMALLEST, Base, Lora, MissingEos, Optimiser, World
from truing.core.errors import RecipeError

WORLD = "world: {}\n"


def test_a_recipe_names_only_what_differs(load) -> None:
    recipe = load("world: {prompts: 5}\nppo:\n  kl: {beta: 1e-3}\n  optimiser: {warmup: 0.5}\n")
    assert recipe.world == World(prompts=5)
    assert recipe.ppo.kl == Kl(beta=0.001)
    assert recipe.ppo.optimiser == Ppo().optimiser.model_copy(update={"warmup": 0.5})
    assert recipe.sft == Sft()


@pytest.mark.parametrize("text", ["world: {}\nsft:\nppo: {kl: }\n", "\ufeffworld: {}\n", "world: {}\r\nsft: ~\r\n"])
def test_empty_sections_byte_order_marks_and_line_ends_of_windows_are_no_mistake(load, text: str) -> None:
    assert load(text) == Recipe(world=World())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "r.yaml: the file is empty. A recipe has base: {path: ...} and data, or world: {}."),
        ("# nothing\n", "r.yaml: the file is empty. A recipe has base: {path: ...} and data, or world: {}."),
        ("[1]", "r.yaml: the file should hold sections such as base, data and ppo, and holds a list."),
        ("world", "r.yaml: the file should hold sections such as base, data and ppo, and holds the text 'world'."),
        (WORLD.encode("utf-16"), "r.yaml: the file is not text in UTF-8 (byte 1). Save it as UTF-8."),
        (b"world: {}\nname: \xff", "r.yaml: the file is not text in UTF-8 (byte 17). Save it as UTF-8."),
        (
            "a: [1,\n2",
            "r.yaml:2: this is not YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'. "
            "Is it indented evenly, with spaces, and text that holds ': ' in quotes?",
        ),
    ],
)
def test_a_file_that_holds_no_recipe_is_named(complaints, text: str | bytes, complaint: str) -> None:
    assert complaints(text) == [complaint]


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: there is no such file\. `truing recipes` lists those"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match=f"{tmp_path}: the file cannot be read: Is a directory"):
        load_recipe(tmp_path)


def test_all_mistakes_are_told_together_each_with_its_line(complaints) -> None:
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
    overrides = ("seed=x", "nonsense", "reward.epochs=0")
    by_place = {
        "r.yaml:2": "sead: there is no such key. Did you mean seed?",
        "r.yaml:8": "stages.3: expected 'sft', 'reward', 'ppo' or 'dpo', got the text 'rm'.",
        "r.yaml:9": "ppo: is written twice, first on line 3. Keep one of the two.",
        "--set nonsense": "is not of the form key=value. For example: --set ppo.kl.beta=0.1",
        "--set seed=x": "expected a whole number, got the text 'x'.",
        "--set reward.epochs=0": "expected at least 1, got 0.",
    }
    assert complaints(text, *overrides) == [f"{place}: {what}" for place, what in by_place.items()]
    inner = complaints(text.replace("\nppo: {}", ""))
    assert [line.split(":")[1] for line in inner] == ["2", "4", "6", "7", "8"]


def test_no_more_than_twenty_mistakes_are_told_in_full(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(WORLD + "".join(f"key{number}: 1\n" for number in range(25)))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    first, *more = str(caught.value).splitlines()
    assert first.endswith("25 mistakes.")
    assert len(more) == 21
    assert more[-1] == "  and 5 more."


def test_what_could_not_be_read_is_not_complained_about_twice(complaints) -> None:
    (only,) = complaints(WORLD + "seed: !!int x\n")
    assert only.startswith("r.yaml:2: seed: 'x' cannot be read as a whole number.")


def test_paths_are_meant_from_the_file_and_else_left_alone(tmp_path: Path, load) -> None:
    (tmp_path / "model").mkdir()
    for name in ("rows.jsonl", "judge.py"):
        (tmp_path / name).touch()
    recipe = load(
        """
base: {path: ./model}
data: {demonstrations: {path: rows.jsonl}, preferences: {path: org/name}}
judges: {mine: "judge.py:f", other: "package.judge:f"}
ppo:
  rewards: [{kind: stage}, {kind: model, path: model}, {kind: function, path: "judge.py:g"}]
  variants: {a: {rewards: [{kind: model, path: model}]}}
""",
        "data.heldout_demonstrations.path=rows.jsonl",
    )
    model, judge = str(tmp_path / "model"), str(tmp_path / "judge.py")
    assert recipe.base == Base(path=model)
    assert recipe.data.demonstrations.path == str(tmp_path / "rows.jsonl")
    assert recipe.data.preferences.path == "org/name"
    assert recipe.data.heldout_demonstrations.path == "rows.jsonl"
    assert recipe.judges == {"mine": f"{judge}:f", "other": "package.judge:f"}
    assert [part.path for part in recipe.rewards.sources] == [None, model, f"{judge}:g"]
    assert recipe.ppo.variants["a"]["rewards"][0]["path"] == model


TEXT = st.text(min_size=1)
SEED = st.integers(1, 10**29)
COUNT = st.integers(1, MOST)
RATE = st.floats(SMALLEST, LARGEST)
ANY_RECIPE = st.builds(
    Recipe,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True),
    seed=SEED,
    world=st.builds(World, prompts=COUNT),
    lora=st.builds(Lora, alpha=RATE, targets=TEXT | st.lists(TEXT)),
    sft=st.builds(Sft, optimiser=st.builds(Optimiser, learning_rate=RATE, warmup=st.floats(0, 1))),
    ppo=st.builds(
        Ppo,
        kl=st.builds(Kl, beta=RATE | st.just(0.0)),
        missing_eos=st.builds(MissingEos, value=st.floats(-LARGEST, LARGEST)),
        rewards=st.lists(
            st.builds(RewardSource, kind=st.just("function"), path=TEXT.map(lambda text: f"none/{text}:f")), min_size=1
        ),
        variants=st.dictionaries(
            st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True),
            st.fixed_dictionaries({"kl.beta": RATE, "gamma": st.just(0.5)}),
        ),
    ),
    judges=st.dictionaries(TEXT, TEXT.map(lambda text: f"none/{text}:f")),
)


@settings(max_examples=25)
@given(recipe=ANY_RECIPE)
def test_a_resolved_recipe_loads_as_the_same_recipe(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.getbasetemp() / "resolved.yaml"
    path.write_text(resolved_yaml(recipe), encoding="utf-8", newline="\n")
    assert load_recipe(path) == recipe


def test_a_resolved_recipe_names_every_field_in_order() -> None:
    lines = resolved_yaml(Recipe(world=World())).splitlines()
    assert [line.partition(":")[0] for line in lines if line[0].isalpha()] == list(Recipe.model_fields)
