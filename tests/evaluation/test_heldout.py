"""The held-out look: what changed between the first and the last, and how far that can be trusted."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny

from truing.config.recipe import Recipe
from truing.evaluation.heldout import HeldoutEvaluator
from truing.models.layout import Roles, policy_roles
from truing.models.roles import Role
from truing.rollout.episodes import load_prompts
from truing.runs.progress import SilentProgress


def _look(
    recipe: Recipe, roles: Roles, reward: Any = None, sampled: tuple[dict[str, Any], ...] = ()
) -> HeldoutEvaluator:
    prompts = load_prompts(recipe, roles.base, SilentProgress()).heldout
    journal: Any = SimpleNamespace(samples=[], sampled=list(sampled))
    return HeldoutEvaluator(recipe, roles, reward, prompts, journal)


def _roles(recipe: Recipe) -> Roles:
    assert recipe.base is not None
    return policy_roles(recipe, recipe.base, None)


def test_the_change_is_that_of_each_prompt_and_its_uncertainty_half_its_interval(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"evaluation.judges": {"letters": "tiny:letter_a"}})
    before, after = (1.0, 2.0, 3.0), (2.0, 4.0, 6.0)
    sampled = tuple(
        {"step": step, "kl": kl, "score": score, "judges": {"letters": -score}}
        for step, scores, kl in ((0, before, 0.0), (5, (9.0, 9.0, 9.0), 7.0), (10, after, 2.0))
        for score in scores
    )
    look = _look(recipe, _roles(recipe), reward=object(), sampled=sampled)
    half = 1.959964 * 1.0 / 3**0.5  # the changes are 1, 2 and 3: mean 2, deviation 1
    figures = look.closing_figures()
    assert figures["heldout_kl_last"] == 2.0
    assert (figures["heldout_score_first"], figures["heldout_score_last"]) == (2.0, 4.0)
    assert figures["heldout_score_change"] == pytest.approx(2.0)
    assert figures["heldout_score_change_ci95"] == pytest.approx([2.0 - half, 2.0 + half], rel=1e-5)
    assert figures["judges"]["letters"]["change"] == pytest.approx(-2.0)
    assert look.uncertainty() == pytest.approx({"heldout_score": half, "judge_letters": half}, rel=1e-5)
    for fall, warned in ((half - 0.01, False), (half + 0.01, True)):
        first = {"heldout_score": 0.0, "judge_letters": 0.0}
        *drift, left_out = look.warnings(first, {"heldout_score": 2.0, "judge_letters": -fall}, dropped=3)
        assert bool(drift) is warned
        assert "3 in training" in left_out


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_a_policy_that_is_its_reference_has_no_kl_at_any_temperature(temperature: float, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"rollout.temperature": temperature})
    roles = _roles(recipe)
    assert _look(recipe, roles).take(0)["heldout_kl"] == pytest.approx(0.0, abs=1e-4)
    other = replace(roles, reference=Role(tiny.model(seed=9)))
    assert _look(recipe, other).take(0)["heldout_kl"] > 0.1
