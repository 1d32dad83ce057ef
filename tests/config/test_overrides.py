from typing import Any

import pytest

WORLD = "world: {}\nvariants: {near: {ppo.kl.beta: 1.0}}\n"
NEAR = {"ppo.kl.beta": 1.0}


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("seed=3", "seed", 3),
        (" seed = 3 ", "seed", 3),
        ("ppo.kl.beta=1e-3", "ppo.kl.beta", 0.001),
        ("ppo.kl.beta=0", "ppo.kl.beta", 0.0),
        ("ppo.whiten_rewards=true", "ppo.whiten_rewards", True),
        ("name=no", "name", "no"),
        ("name='17'", "name", "17"),
        ("stages=[sft, reward]", "stages", ["sft", "reward"]),
        ("evaluation.judges.mine=a.b:c", "evaluation.judges", {"mine": "a.b:c"}),
        ("evaluation.judges.mine=a=b:c", "evaluation.judges", {"mine": "a=b:c"}),
        ("world.prompts=5", "world.prompts", 5),
        ("compute.threads=null", "compute.threads", None),
        ("lora.targets=[q_proj]", "lora.targets", ["q_proj"]),
        ("data={max_length: 99}", "data.max_length", 99),
        ("rewards.sources.0.weight=2.5", "rewards.sources.0.weight", 2.5),
        ("variants.far.ppo.kl.beta=0.0", "variants", {"near": NEAR, "far": {"ppo.kl.beta": 0.0}}),
        ("variants.near.ppo.kl.beta=0.0", "variants", {"near": {"ppo.kl.beta": 0.0}}),
        ("variants.near={ppo: {gamma: 0.9}}", "variants", {"near": {"ppo.gamma": 0.9}}),
        ("variants={}", "variants", {}),
    ],
)
def test_an_override_is_read_as_yaml_and_set_at_its_key(load: Any, override: str, key: str, expected: Any) -> None:
    value = load(WORLD, override).model_dump()
    for part in key.split("."):
        value = value[int(part) if part.isdigit() else part]
    assert value == expected
    assert type(value) is type(expected)


def test_the_last_of_two_overrides_wins(load: Any) -> None:
    assert load(WORLD, "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        *((text, "is not of the form key=value. For example: --set ppo.kl.beta=0.1") for text in ("x", "=3", "a..b=1")),
        ("seed=2.0", "expected a whole number, got 2.0. Write 2."),
        ("seed=", "expected a whole number, got nothing."),
        ("seed.x=1", "seed is 17 and no section, so it has no x."),
        ("stages.0.x=1", "stages.0 is the text 'sft' and no section, so it has no x."),
        ("stages.7=sft", "stages has 3 entries, counted from 0, and none is called 7."),
        ("rewards.sources.x=1", "rewards.sources has 1 entry, counted from 0, and none is called x."),
    ],
)
def test_what_is_wrong_with_an_override_is_said_of_it(sentences: Any, override: str, complaint: str) -> None:
    assert sentences(WORLD, override) == [f"--set {override}: {complaint}"]


@pytest.mark.parametrize(
    ("override", "code", "field"),
    [
        ("x", "bad-override", None),
        ("seed=1.5", "wrong-type", "seed"),
        ("seed=true", "wrong-type", "seed"),
        ("seed=[", "yaml", "seed"),
        ("seed={a: 1, a: 2}", "yaml", "seed"),
        ("name=17", "wrong-type", "name"),
        ("ppo.whiten_rewards=off", "wrong-type", "ppo.whiten_rewards"),
        ("ppo.kl.betta=1", "unknown-key", "ppo.kl.betta"),
        ("ppo.beta=1", "unknown-key", "ppo.beta"),
        ("seed.x=1", "no-such-place", "seed.x"),
        ("stages.7=sft", "no-such-place", "stages.7"),
        ("stages=[]", "wrong-value", "stages"),
        ("data={max_length: 0}", "wrong-value", "data.max_length"),
        ("variants.near.ppo.kl.beta=x", "wrong-type", "variants.near.ppo.kl.beta"),
        ("variants.near=3", "wrong-type", "variants.near"),
    ],
)
def test_an_override_that_cannot_be_is_named(spots: Any, override: str, code: str, field: str | None) -> None:
    assert spots(WORLD, override) == [(code, field, f"--set {override}")]
