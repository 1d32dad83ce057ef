"""The recipe's rewards become one sum: each part with its weight, on its own scale."""

import statistics
from pathlib import Path

import pytest
import tiny

from truing.core.results import to_json
from truing.models.layout import policy_roles
from truing.rewards.build import build_reward
from truing.rewards.sources import RoleReward
from truing.rollout.episodes import reference_samples
from truing.stages.reward import train_reward

LETTERS = {"kind": "function", "path": "letters:letter_a"}


def test_every_part_has_its_weight_and_its_scale_on_samples_of_the_start(tmp_path: Path) -> None:
    parts = [
        {"kind": "stage", "weight": 2.0},
        {"kind": "stage", "weight": 0.25, "normalise": False},
        LETTERS | {"weight": -0.5},
        LETTERS | {"weight": 3.0, "normalise": False},
    ]
    recipe = tiny.recipe(tmp_path, **{"rewards.sources": parts, "rewards.normalisation_samples": 20})
    stage = tiny.job(recipe, tmp_path, "reward")
    result = to_json(train_reward(stage))
    job = tiny.job(recipe, tmp_path, "ppo", stage.directory.root)
    roles = policy_roles(recipe, job.start, job.reward)
    prompts = job.rows.prompts(recipe)
    samples = reference_samples(roles.reference, prompts, recipe, roles.base)
    assert roles.reward is not None
    learnt = RoleReward(roles.reward, roles.base.tokenizer.pad_token_id, roles.base.endings, 1000).score(samples)
    letters = [sample.response.count("a") for sample in samples]
    mean, deviation = statistics.fmean(letters), statistics.pstdev(letters)
    assert deviation > 0
    expected = [
        2 * (score - result["score_mean"]) / result["score_std"] + score / 4 - (a - mean) / deviation / 2 + 3 * a
        for score, a in zip(learnt, letters, strict=True)
    ]
    reward = build_reward(recipe, roles, prompts)
    assert reward.score(samples) == pytest.approx(expected, abs=1e-3)
    assert [part.label for part in reward.parts] == ["reward_model", "reward_model_2", "letter_a", "letter_a_2"]
