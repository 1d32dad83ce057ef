"""The held-out evaluation: what changed between the first and the last, and how far that can be trusted."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from truing.config.recipe import Recipe
from truing.core.normalisation import Normalisation
from truing.core.records import Message, Sample, as_messages
from truing.core.results import to_json
from truing.evaluation.heldout import HeldoutEvaluator
from truing.models.layout import Roles, policy_roles
from truing.models.roles import Role
from truing.rewards.combined import WeightedPart, WeightedReward
from truing.runs.metrics import JsonLines, read_samples


def _evaluator(
    recipe: Recipe, roles: Roles, reward: Any = None, earlier: Sequence[dict[str, Any]] = ()
) -> HeldoutEvaluator:
    lines: Any = []
    return HeldoutEvaluator(recipe, roles, reward, tiny.prepared(recipe).prompts(recipe).heldout, lines, earlier)


def _roles(recipe: Recipe) -> Roles:
    assert recipe.base is not None
    return policy_roles(recipe, recipe.base, None)


@pytest.mark.parametrize(
    ("before", "after", "ends"),
    [
        # Wilson's interval of 20 of 20 is n / (n + z²) to 1, of 10 of 20 symmetric about a half (Wilson 1927)
        ([1.0] * 10 + [0.0] * 10, [1.0] * 20, ((0.2993, 0.7007), (0.8389, 1.0))),
        ([0.9, 1.0, 0.2, 1.0], [1.0, 1.0, 0.6, 1.0], (None, (0.704, 1.0))),
        ([0.9, 1.0, 0.2, 2.0], [1.0, 1.0, 0.6, 9.0], (None, (-1.0896, 6.8896))),
    ],
)
def test_the_interval_of_a_share_stays_between_0_and_1(
    before: list[float], after: list[float], ends: tuple[Any, Any], tmp_path: Path
) -> None:
    recipe = tiny.recipe(tmp_path, **{"evaluation.judges": {"letters": "letters:letter_a"}})
    rows = [{"step": step, "kl": 0.0, "judges": {"letters": one}} for step in (0, 1) for one in (before, after)[step]]
    judged = to_json(_evaluator(recipe, _roles(recipe), earlier=tuple(rows)).result())["judges"]["letters"]
    for name, expected in zip(("first_ci95", "last_ci95"), ends, strict=True):
        assert expected is None or judged[name] == pytest.approx(expected, abs=1e-3)
    share = max(*before, *after) <= 1
    assert all(-1 <= end <= 1 for end in judged["change_ci95"]) or not share


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_policy_that_has_not_moved_is_no_distance_from_the_reference_in_any_precision(
    dtype: str, tmp_path: Path
) -> None:
    """Sampling rounds otherwise than a pass over whole rows: in bfloat16 by more than a policy moves in a step."""
    recipe = tiny.recipe(tmp_path, **{"compute.dtype": dtype})
    evaluator = _evaluator(recipe, _roles(recipe))
    evaluator.evaluate(0)
    assert [row["kl"] for row in evaluator.rows[0]] == pytest.approx([0.0] * len(evaluator.rows[0]), abs=1e-4)


class _Length:
    def score(self, samples: Sequence[Sample]) -> list[float]:
        return [float(len(sample.response)) for sample in samples]


def test_the_parts_of_a_sum_are_told_apart_and_add_up(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    halves = (
        WeightedPart("length", _Length(), 0.5, Normalisation(), "length"),
        WeightedPart("short", _Length(), -2.0, Normalisation(mean=1.0), "short"),
    )
    roles = _roles(recipe)
    evaluator = _evaluator(recipe, roles, WeightedReward(halves))
    found = evaluator.evaluate(0)
    length = statistics.fmean(len(row["response"]) for row in evaluator.rows[0])
    assert (found["part_length"], found["part_short"]) == pytest.approx((length / 2, -2 * (length - 1)))
    assert found["heldout_score"] == pytest.approx(found["part_length"] + found["part_short"])
    assert evaluator.history[0].metrics == found
    told = to_json(evaluator.result())["parts"]
    assert {name: told[name]["last"] for name in told} == pytest.approx(
        {"length": length / 2, "short": -2 * (length - 1)}
    )
    alone = _evaluator(recipe, roles, WeightedReward(halves[:1]))
    assert not {name for name in alone.evaluate(0) if name.startswith("part_")}
    assert "parts" not in alone.rows[0][0]


def test_the_change_is_that_of_each_prompt_and_its_uncertainty_half_its_interval(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"evaluation.judges": {"letters": "letters:letter_a"}})
    before, after = (1.0, 2.0, 3.0), (2.0, 4.0, 6.0)
    earlier = tuple(
        {"step": step, "kl": kl, "score": score, "judges": {"letters": -score}}
        for step, scores, kl in ((0, before, 0.0), (5, (9.0, 9.0, 9.0), 7.0), (10, after, 2.0))
        for score in scores
    )
    evaluator = _evaluator(recipe, _roles(recipe), reward=object(), earlier=earlier)
    half = 1.959964 * 1.0 / 3**0.5  # the changes are 1, 2 and 3: mean 2, deviation 1
    metrics = to_json(evaluator.result())
    assert (metrics["heldout_kl_first"], metrics["heldout_kl_last"]) == (0.0, 2.0)
    assert (metrics["heldout_score_first"], metrics["heldout_score_last"]) == (2.0, 4.0)
    assert metrics["heldout_score_change"] == pytest.approx(2.0)
    assert metrics["heldout_score_change_ci95"] == pytest.approx([2.0 - half, 2.0 + half], rel=1e-5)
    assert metrics["judges"]["letters"]["change"] == pytest.approx(-2.0)
    assert evaluator.uncertainty() == pytest.approx({"heldout_score": half, "judge_letters": half}, rel=1e-5)
    for fall, warned in ((half - 0.01, False), (half + 0.01, True)):
        first = {"heldout_score": 0.0, "judge_letters": 0.0}
        *drift, left_out = evaluator.warnings(first, {"heldout_score": 2.0, "judge_letters": -fall}, dropped=3)
        assert bool(drift) is warned
        assert "3 in training" in left_out


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_a_policy_that_is_its_reference_has_no_kl_at_any_temperature(temperature: float, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"rollout.temperature": temperature})
    roles = _roles(recipe)
    assert _evaluator(recipe, roles).evaluate(0)["heldout_kl"] == pytest.approx(0.0, abs=1e-4)
    other = replace(roles, reference=Role(tiny.model(seed=9)))
    assert _evaluator(recipe, other).evaluate(0)["heldout_kl"] > 0.1


def test_the_history_is_of_what_was_written_before_and_since_and_a_stage_that_goes_back_forgets(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    earlier = [
        {"step": step, "kl": kl, "length": 3, "finished": True, "judges": {}} for step, kl in ((0, 0.0), (2, 0.5))
    ]
    evaluator = _evaluator(recipe, _roles(recipe), earlier=earlier)
    found = evaluator.evaluate(4)
    assert [(one.step, one.metrics["heldout_kl"]) for one in evaluator.history] == [
        (0, 0.0), (2, 0.5), (4, found["heldout_kl"]),
    ]  # fmt: skip
    evaluator.forget_after(2)
    assert [one.step for one in evaluator.history] == [0, 2]
    assert to_json(evaluator.result())["heldout_kl_last"] == 0.5


def test_held_out_prompts_are_asked_once_each_however_many_responses_an_update_has(tmp_path: Path) -> None:
    lines: list[list[dict[str, Any]]] = []
    for size in (1, 4):
        recipe = tiny.recipe(tmp_path / str(size), **{"ppo.responses_per_prompt": size})
        evaluator = _evaluator(recipe, _roles(recipe))
        evaluator.evaluate(0)
        lines.append(evaluator.rows[0])
    assert lines[0] == lines[1]
    assert len({row["prompt"] for row in lines[0]}) == recipe.evaluation.prompts


def test_each_token_has_its_text_and_its_share_of_the_kl(tmp_path: Path) -> None:
    """The log-ratio of each token, by the library's own forward over prompt and response."""
    recipe = tiny.recipe(tmp_path)
    roles = replace(_roles(recipe), reference=Role(tiny.model(seed=9)))
    evaluator = _evaluator(recipe, roles)
    evaluator.evaluate(0)
    prompts = tiny.prepared(recipe).prompts(recipe).heldout
    for prompt, row in zip(prompts, evaluator.rows[0], strict=True):
        assert "".join(row["tokens"]) == row["response"]
        assert len(row["token_log_ratios"]) == len(row["tokens"]) == row["length"]
        assert sum(row["token_log_ratios"]) == pytest.approx(row["kl"], abs=1e-3)
        said = [tiny.LETTERS.index(text) if text else len(tiny.LETTERS) for text in row["tokens"]]
        inputs, at = torch.tensor([[*prompt.tokens, *said]]), len(prompt.tokens)
        with torch.no_grad():
            policy, reference = (
                role.model(inputs).logits[0, at - 1 : -1].log_softmax(-1)[range(len(said)), said]
                for role in (roles.policy, roles.reference)
            )
        assert row["token_log_ratios"] == pytest.approx((policy - reference).tolist(), abs=1e-3)


def test_a_conversation_is_kept_as_one_text_and_as_turns(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    plain, other = tiny.prepared(recipe).prompts(recipe).heldout[:2]
    turns = (Message("system", "ab"), Message("user", "c?", '{"name": "d"}'))
    prompts, written = [plain, replace(other, text=turns)], JsonLines(tmp_path / "samples.jsonl")
    HeldoutEvaluator(recipe, _roles(recipe), None, prompts, written).evaluate(0)
    written.close()
    lines = read_samples(written.path)
    assert "prompt_turns" not in lines[0]
    assert lines[1]["prompt"] == "system: ab\n\nuser: c?"
    assert lines[1]["prompt_turns"] == [
        {"role": "system", "content": "ab"},
        {"role": "user", "content": "c?", "name": "d"},
    ]
    assert as_messages(lines[1]["prompt_turns"]) == turns
