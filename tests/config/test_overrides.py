from typing import Any

import pytest

WORLD = "world: {}\nppo: {variants: {near: {kl.beta: 1.0}}}\n"


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
        ("judges.mine=a.b:c", "judges", {"mine": "a.b:c"}),
        ("judges.mine=a=b:c", "judges", {"mine": "a=b:c"}),
        ("world.prompts=5", "world.prompts", 5),
        ("compute.threads=null", "compute.threads", None),
        ("lora.targets=[q_proj]", "lora.targets", ["q_proj"]),
        ("data={max_length: 99}", "data.max_length", 99),
        ("rewards.sources.0.weight=2.5", "rewards.sources.0.weight", 2.5),
        ("ppo.variants.far.kl.beta=0.0", "ppo.variants", {"near": {"kl.beta": 1.0}, "far": {"kl.beta": 0.0}}),
        ("ppo.variants.near={gamma: 0.9}", "ppo.variants", {"near": {"gamma": 0.9}}),
        ("ppo.variants={}", "ppo.variants", {}),
    ],
)
def test_an_override_is_read_as_yaml_and_set_at_its_key(load, override: str, key: str, expected: Any) -> None:
    value = load(WORLD, override).model_dump()
    for part in key.split("."):
        value = value[int(part) if part.isdigit() else part]
    assert value == expected
    assert type(value) is type(expected)


def test_the_last_of_two_overrides_wins(load) -> None:
    assert load(WORLD, "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        *((text, "is not of the form key=value. For example: --set ppo.kl.beta=0.1") for text in ("x", "=3", "a..b=1")),
        ("seed=1.5", "expected a whole number, got 1.5."),
        ("seed=2.0", "expected a whole number, got 2.0. Write 2."),
        ("seed=true", "expected a whole number, got true."),
        ("seed=", "expected a whole number, got nothing."),
        (
            "seed=[",
            "the value this is not YAML: while parsing a flow node, expected the node content, but found "
            "'<stream end>'. Is it indented evenly, with spaces, and text that holds ': ' in quotes?",
        ),
        ("name=17", 'expected text, got 17. Put it in quotes: "17".'),
        ("name=true", 'expected text, got true. Put it in quotes: "true".'),
        ("ppo.whiten_rewards=off", "expected true or false, got the text 'off'. Write false."),
        ("ppo.kl.betta=1", "there is no such key. Did you mean beta?"),
        ("ppo.beta=1", "there is no such key. Did you mean ppo.kl.beta?"),
        ("seed.x=1", "seed is 17 and no section, so it has no x."),
        ("stages.0.x=1", "stages.0 is the text 'sft' and no section, so it has no x."),
        ("stages.7=sft", "stages has 3 entries, counted from 0, and none is called 7."),
        ("rewards.sources.x=1", "rewards.sources has 1 entry, counted from 0, and none is called x."),
        ("stages=[]", "expected at least one entry, got an empty list."),
        ("ppo.variants.near.kl.beta=x", "expected a number, got the text 'x'."),
        ("ppo.variants.near=3", "expected a section, got 3."),
    ],
)
def test_an_override_that_cannot_be_is_named(complaints, override: str, complaint: str) -> None:
    assert complaints(WORLD, override) == [f"--set {override}: {complaint}"]
