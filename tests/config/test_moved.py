"""A recipe of an older truing is read as what it says today."""

from pathlib import Path
from typing import Any

import pytest

from truing.config import load_recipe, recorded_recipe
from truing.config.moved import MOVED, current_key
from truing.config.recipe import Recipe
from truing.config.sections import RewardConfig

WORLD = "world: {}\n"
RULE = [{"kind": "function", "path": "rules:short"}]
VALUES = {
    "ppo.max_new_tokens": 7,
    "ppo.temperature": 0.5,
    "ppo.rewards": RULE,
    "ppo.missing_eos": {"value": 3.0},
    "on_bad_score": "drop",
    "reward.normalisation_samples": 9,
    "ppo.heldout_prompts": 5,
    "ppo.heldout_every": 6,
    "dpo.heldout_every": 6,
    "judges": {"mine": "m:f"},
    "rollout.responses_per_prompt": 4,
}
"""Another value than the default, for each key but variants"""
KEYS = {old: new for _, old, new in MOVED if old in VALUES}


def nested(key: str, value: Any) -> str:
    """YAML of a value at a dotted key; JSON is YAML."""
    *sections, last = key.split(".")
    return "".join(f"{name}: {{" for name in sections) + f"{last}: {value}" + "}" * len(sections)


def at(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return [one.model_dump(exclude_defaults=True) for one in value] if isinstance(value, list) else value


def test_every_key_that_has_moved_is_looked_at() -> None:
    assert {old for _, old, _ in MOVED} == {*VALUES, "ppo.variants"}


@pytest.mark.parametrize("old", KEYS)
def test_an_older_key_in_a_file_is_read_where_it_belongs(load: Any, notes: list[str], old: str) -> None:
    recipe = load(f"{WORLD}stages: [sft]\n{nested(old, VALUES[old])}")
    value = at(recipe, KEYS[old])
    assert value == VALUES[old] or value.value == 3.0
    (note,) = notes
    assert note.endswith(f"r.yaml: {old} is called {KEYS[old]} since truing 0.2.")
    notes.clear()
    assert load(f"{WORLD}stages: [sft]\n{nested(KEYS[old], VALUES[old])}") == recipe
    assert notes == []


@pytest.mark.parametrize("old", KEYS)
def test_an_older_key_in_an_override_is_read_where_it_belongs(load: Any, notes: list[str], old: str) -> None:
    by_old, by_new = (load(f"{WORLD}stages: [sft]\n", f"{key}={VALUES[old]}") for key in (old, KEYS[old]))
    assert by_old == by_new != load(f"{WORLD}stages: [sft]\n")
    assert [note.partition(": ")[2] for note in notes] == [f"{old} is called {KEYS[old]} since truing 0.2."]


@pytest.mark.parametrize("old", [key for key in KEYS if key.startswith("ppo.")])
def test_an_older_key_in_a_variant_of_old_is_read_where_it_belongs(load: Any, notes: list[str], old: str) -> None:
    changes = f"{{{old.removeprefix('ppo.')}: {VALUES[old]}, kl: {{beta: 0.0}}}}"
    recipe = load(f"{WORLD}ppo: {{variants: {{a: {changes}}}}}")
    assert recipe == load(f"{WORLD}variants: {{a: {{{KEYS[old]}: {VALUES[old]}, ppo.kl.beta: 0.0}}}}")
    inner = ".value" if isinstance(VALUES[old], dict) else ""
    assert [note.partition(": ")[2] for note in notes] == [
        "ppo.variants is called variants since truing 0.2.",
        f"variants.a.{old}{inner} is called variants.a.{KEYS[old]}{inner} since truing 0.2.",
    ]


@pytest.mark.parametrize(
    ("override", "variants"),
    [
        ("ppo.variants.far.kl.beta=0.0", {"near": {"ppo.gamma": 0.9}, "far": {"ppo.kl.beta": 0.0}}),
        ("ppo.variants.near.temperature=0.5", {"near": {"ppo.gamma": 0.9, "rollout.temperature": 0.5}}),
        ("ppo.variants.near={kl: {beta: 0.5}}", {"near": {"ppo.kl.beta": 0.5}}),
        ("ppo.variants={far: {gamma: 0.5}}", {"far": {"ppo.gamma": 0.5}}),
        ("ppo.variants={}", {}),
        ("ppo={temperature: 0.5, variants: {far: {gamma: 0.5}}}", {"far": {"ppo.gamma": 0.5}}),
        ("variants.near={ppo.temperature: 0.5}", {"near": {"rollout.temperature": 0.5}}),
    ],
)
@pytest.mark.parametrize("given", ["ppo: {variants: {near: {gamma: 0.9}}}", "variants: {near: {ppo.gamma: 0.9}}"])
def test_variants_of_old_in_an_override_meet_those_of_the_file(
    load: Any, given: str, override: str, variants: dict[str, Any]
) -> None:
    assert load(f"{WORLD}{given}", override).variants == variants


def test_an_override_comes_after_the_file_by_either_name(load: Any) -> None:
    for given in ("ppo: {temperature: 0.5}", "rollout: {temperature: 0.5}"):
        for override in ("ppo.temperature=0.7", "rollout.temperature=0.7", "ppo={temperature: 0.7}"):
            assert load(WORLD + given, override).rollout.temperature == 0.7


def test_an_override_by_an_older_name_reaches_into_lists(load: Any) -> None:
    assert load(WORLD, "ppo.rewards.0.weight=2.0").rewards.sources == [RewardConfig(kind="stage", weight=2.0)]


@pytest.mark.parametrize("old", KEYS)
def test_a_value_by_both_names_is_a_problem(spots: Any, old: str) -> None:
    text = f"{WORLD}{nested(old, VALUES[old])}\n"
    section = text + nested(KEYS[old], VALUES[old])
    assert [spot[:2] for spot in spots(section)] == [("moved-key", KEYS[old])]


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        ("variants: {a: {seed: 1}}\nppo: {variants: {b: {gamma: 0.5}}}", "moved-key", "variants"),
        (
            "variants: {a: {ppo.temperature: 2.0, rollout: {temperature: 1.5}}}",
            "moved-key",
            "variants.a.rollout.temperature",
        ),
        ("rollout: 3\nppo: {temperature: 0.5}", "wrong-type", "rollout"),
        ("rewards: []\nreward: {normalisation_samples: 5}", "wrong-type", "rewards"),
        ("ppo: {variants: 3}", "wrong-type", "variants"),
        ("ppo: {variants: {a: 3}}", "wrong-type", "variants.a"),
        ("ppo: 3\njudges: {}", "wrong-type", "ppo"),
        ("ppo: {temperature: hot}", "wrong-type", "rollout.temperature"),
    ],
)
def test_what_is_wrong_beside_an_older_key_is_named_as_it_is_called_now(
    spots: Any, text: str, code: str, field: str
) -> None:
    assert [spot[:2] for spot in spots(WORLD + text)] == [(code, field)]


def test_a_problem_at_an_older_key_has_its_line(spots: Any) -> None:
    text = f"{WORLD}ppo:\n  temperature: hot\n  variants:\n    a:\n      max_new_tokens: 0\n"
    assert spots(text) == [
        ("wrong-type", "rollout.temperature", "r.yaml:3"),
        ("wrong-value", "variants.a.rollout.max_new_tokens", "r.yaml:6"),
    ]


def test_two_keys_that_became_one_are_one(load: Any, notes: list[str]) -> None:
    assert load(f"{WORLD}ppo: {{heldout_every: 5}}\ndpo: {{heldout_every: 5}}").evaluation.every == 5
    assert len(notes) == 2
    assert load(f"{WORLD}ppo: {{heldout_every: 5}}\ndpo: {{heldout_every: 7}}").evaluation.every == 5
    assert notes[-1].endswith("evaluation.every stays 5, as ppo.heldout_every has it.")


@pytest.mark.parametrize(("stages", "every"), [("[sft, dpo]", 7), ("[sft, reward, ppo]", 5), ("[sft]", 5)])
def test_of_two_keys_that_became_one_that_of_a_stage_that_runs_counts(load: Any, stages: str, every: int) -> None:
    text = f"{WORLD}stages: {stages}\nppo: {{heldout_every: 5}}\ndpo: {{heldout_every: 7}}"
    assert load(text).evaluation.every == every


@pytest.mark.parametrize("key", ["rollout.temperature", "variants.a.ppo.gamma", "ppo.gamma", "ppo", "data.prompts"])
def test_a_key_of_today_is_what_it_is(key: str) -> None:
    assert current_key(key) == key


OLD_QUICKSTART = """
name: quickstart
seed: 17
world: {preferences: 1000}
data: {heldout: 0.2}
stages: [sft, reward, ppo]
roles: separate
sft:
  method: full
  epochs: 3
  batch_size: 32
  log_every: 60
  optimiser: {learning_rate: 4e-3}
reward:
  epochs: 4
  optimiser: {learning_rate: 2e-3}
ppo:
  updates: 45
  episodes: 64
  epochs: 2
  max_new_tokens: 48
  heldout_prompts: 128
  heldout_every: 5
  kl: {beta: 0.1}
  optimiser: {learning_rate: 1e-3, warmup: 0.1, schedule: linear, adam_eps: 1e-5}
  variants:
    no-kl: {kl.beta: 0.0}
compute: {threads: 1}
"""
OLD_ASSISTANT = """
name: assistant
stages: [reward, ppo]
base: {path: "HuggingFaceTB/SmolLM2-135M-Instruct"}
data: {preferences: {path: "preferences.jsonl"}, transcripts: true, max_length: 512, too_long: drop}
lora: {rank: 8, alpha: 16, targets: all-linear}
reward:
  batch_size: 16
  normalisation_samples: 64
  optimiser: {learning_rate: 2e-4}
ppo:
  updates: 100
  episodes: 32
  epochs: 2
  minibatches: 2
  max_new_tokens: 64
  missing_eos: {policy: subtract, value: 1.0}
  kl: {beta: 0.05, controller: adaptive, target: 6.0}
  optimiser: {learning_rate: 1e-4, schedule: linear, adam_eps: 1e-5}
  heldout_prompts: 32
  heldout_every: 20
"""
OLD_MOVIES = """
name: movies
stages: [sft, reward, ppo, dpo]
base: {path: "CACHE/base"}
data:
  demonstrations: {path: "CACHE/demonstrations.jsonl"}
  preferences: {path: "CACHE/preferences.jsonl"}
  heldout_preferences: {path: "CACHE/heldout_preferences.jsonl"}
  prompts: {path: "CACHE/prompts.jsonl"}
  heldout: 0.06
  max_length: 80
lora: {rank: 8, alpha: 16, targets: all-linear}
sft: {batch_size: 16, log_every: 30, optimiser: {learning_rate: 5e-4}}
reward: {batch_size: 16, normalisation_samples: 256, optimiser: {learning_rate: 5e-4}}
ppo:
  updates: 30
  episodes: 32
  epochs: 2
  minibatches: 2
  max_new_tokens: 24
  temperature: 1.0
  missing_eos: {policy: subtract, value: 1.0}
  kl: {beta: 0.05}
  optimiser: {learning_rate: 5e-4, schedule: linear, adam_eps: 1e-5}
  heldout_prompts: 64
  heldout_every: 10
dpo: {epochs: 1, batch_size: 16, beta: 0.1, optimiser: {learning_rate: 2e-4}, heldout_every: 32}
judges: {vader: "judges:vader", afinn: "judges:afinn"}
compute: {learn_tokens: 2048, score_tokens: 4096, rollout_rows: 32}
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("old", "today"),
    [
        (OLD_QUICKSTART, "recipes/quickstart.yaml"),
        (OLD_ASSISTANT, "recipes/assistant.yaml"),
        (OLD_MOVIES, "examples/movies/movies.yaml"),
    ],
    ids=["quickstart", "assistant", "movies"],
)
def test_a_recipe_as_it_was_shipped_with_0_1_is_that_of_today(load: Any, tmp_path: Path, old: str, today: str) -> None:
    assert load(old) == load_recipe(ROOT / today) == recorded_recipe(tmp_path / "r.yaml")
