"""Reward models that were trained well, by heart, and on shuffled labels: the card tells them apart."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from trust.cases import named

from truing.stages.reward import train_reward

CASES = {
    "well": (160, 0.0, 4),
    "by heart": (96, 0.25, 25),
    "shuffled": (64, 0.5, 25),
}
"""Pairs to learn from, share of labels that are turned round, and passes"""


def pairs(count: int, turned: float, seed: int) -> Iterator[dict[str, str]]:
    """Letters at random; the preferred side has an 'a' among them, the other a 'z', but for labels that are turned."""
    draw = random.Random(seed)
    for number in range(count):
        good, bad = (
            "".join(draw.choice("bcdefghijk") for _ in range(draw.randint(4, 9))) + f"{sign}b." for sign in "az"
        )
        chosen, rejected = (bad, good) if draw.random() < turned else (good, bad)
        prompt = f"{'qw'[seed]}{tiny.LETTERS[number % 26]}{tiny.LETTERS[number // 26]}?"
        yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def verdicts(place: Path, count: int, turned: float, passes: int) -> dict[str, str]:
    own = tiny.write_rows(place / "own.jsonl", [*pairs(count, turned, 0)])
    heldout = tiny.write_rows(place / "heldout.jsonl", [*pairs(100, turned, 1)])
    changes = {
        "data.preferences": {"path": str(own)},
        "data.heldout_preferences": {"path": str(heldout)},
        "reward.epochs": passes,
        "reward.batch_size": 16,
        "reward.log_every": 1000,
    }
    result = train_reward(tiny.job(tiny.recipe(place, roles="separate", **changes), place, "reward"))
    assert result.checks is not None
    told = " ".join(result.findings or [])
    for check in result.checks:  # accuracy is told by the verdict
        if check.name not in ("accuracy", "longer-wins"):
            assert (check.title in told or check.finding in told) == (check.verdict == "fail")
    return {name: check.verdict for name, check in named(result.checks).items()}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("well", {"accuracy": "pass", "longer-wins": "pass", "calibration": "pass", "overfitting": "pass"}),
        ("by heart", {"accuracy": "pass", "longer-wins": "pass", "calibration": "fail", "overfitting": "fail"}),
        ("shuffled", {"accuracy": "fail", "calibration": "fail", "overfitting": "fail"}),
    ],
)
def test_the_card_tells_how_a_reward_model_was_trained(case: str, expected: dict[str, str], tmp_path: Path) -> None:
    found = verdicts(tmp_path, *CASES[case])
    assert {name: found[name] for name in expected} == expected
    assert (found["length-correlation"], found["batch"]) == ("pass", "pass")
