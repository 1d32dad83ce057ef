"""GRPO, RLOO and REINFORCE++: experience by the formulas, and stages that run, stop and go on as PPO does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from oracles import episodes
from stages.killed import ends_as_if_it_had_not_been_killed

from truing.config.algorithms import Grpo
from truing.config.stages import STAGES
from truing.core.batches import Sequences
from truing.core.experience import Experience, Rollout
from truing.runs.metrics import read_jsonl
from truing.stages import grpo, reinforce, rloo
from truing.stages.objective import Scored
from truing.stages.update_metrics import group_metrics
from truing.training.job import Job

LETTERS = {"kind": "function", "path": "letters:letter_a", "normalise": False}
BY_FUNCTION: dict[str, Any] = {"rewards.sources": [LETTERS]}
PAD = len(tiny.LETTERS) + 1
LENGTHS = [4, 1, 3, 2]
MASK = np.arange(4)[None] < np.array(LENGTHS)[:, None]
BETA = 0.3
PENALISED = {"penalty": "k3_in_loss"}
KIN: list[dict[str, Any]] = [
    {},
    {"advantage": "centred", "average": "constant"},
    {"average": "tokens", "clip_range_high": 0.28, "drop_even_groups": True},
    {"ratio": "response"},
    PENALISED,
    {"penalty": "corrected_k3_in_loss"},
]
"""GRPO with the penalty in the reward, Dr. GRPO, DAPO, GSPO, GRPO as published, and as corrected since"""


def _scored(rewards: list[float]) -> Scored:
    """Two prompts, two responses each, and something vile where nothing counts."""
    numbers = np.random.default_rng(0)
    logprobs, ref, kl, entropy = (torch.tensor(np.where(MASK, numbers.normal(size=(4, 4)), 1e9)) for _ in range(4))
    sequences = Sequences.collate([[1], [1], [2], [2]], [[5 + n] * length for n, length in enumerate(LENGTHS)], PAD)
    rollout = Rollout(sequences, logprobs, torch.ones(4, dtype=torch.bool), torch.tensor([0, 0, 1, 1]))
    scores = torch.tensor(rewards, dtype=torch.float64)
    return Scored(rollout, scores, scores, ref, kl, entropy, None)


def _penalised(scored: Scored) -> list[float]:
    """Scores less β·k1 of the response."""
    k1 = (scored.rollout.logprobs - scored.ref_logprobs).numpy()
    return [float(scored.scores[row] - BETA * sum(k1[row][MASK[row]])) for row in range(4)]


def _tokens(experience: Experience) -> list[list[float]]:
    """Advantages of counted tokens, row by row."""
    return [experience.advantages[row][torch.tensor(MASK[row])].tolist() for row in range(4)]


def test_grpo_compares_with_the_group_in_its_deviations() -> None:
    scored = _scored([1.0, 2.0, 0.0, -1.0])
    first = _penalised(scored)
    expected = []
    for row, partner in [(0, 1), (1, 0), (2, 3), (3, 2)]:
        middle, apart = (first[row] + first[partner]) / 2, abs(first[row] - first[partner]) / 2**0.5
        expected.append([(first[row] - middle) / (apart + 1e-4)] * LENGTHS[row])
    for mine, theirs in zip(_tokens(grpo.penalty_in_reward(scored, BETA, Grpo())), expected, strict=True):
        assert mine == pytest.approx(theirs)


def test_a_penalty_in_the_loss_leaves_the_advantages_alone() -> None:
    scored = _scored([1.0, 2.0, 0.0, -1.0])
    found = grpo.penalty_in_loss(scored, BETA, Grpo(advantage="centred"))
    assert _tokens(found) == [[-0.5] * 4, [0.5], [0.5] * 3, [-0.5] * 2]
    assert found.ref_logprobs is scored.ref_logprobs
    assert found.kl_price is not None
    assert found.kl_price.tolist() == [BETA] * 4


def test_groups_whose_scores_are_alike_are_left_out_where_that_is_asked_for() -> None:
    scored = _scored([1.0, 1.0, 0.0, -1.0])
    kept = grpo.penalty_in_reward(scored, BETA, Grpo(drop_even_groups=True)).kept(least=1)
    assert kept.groups.tolist() == [1, 1]
    assert len(grpo.penalty_in_reward(scored, BETA, Grpo()).kept(least=1)) == 4
    even = grpo.penalty_in_reward(_scored([1.0] * 4), BETA, Grpo(drop_even_groups=True))
    assert len(even.kept(least=1)) == 4  # or an update would have nothing to take its steps on


def test_responses_that_dropped_ones_left_alone_count_as_even() -> None:
    scored = _scored([1.0, 2.0, 0.0, 0.0])
    assert group_metrics(scored, 2) == {"even_groups": 0.5}
    alone = replace(scored, rollout=replace(scored.rollout, groups=torch.arange(4)))
    assert group_metrics(alone, 2) == {"even_groups": 1.0}
    assert group_metrics(alone, 1) == {}


def test_rloo_compares_with_the_others() -> None:
    scored = _scored([1.0, 2.0, 0.0, -1.0])
    first = _penalised(scored)
    expected = [[first[row] - first[partner]] * LENGTHS[row] for row, partner in [(0, 1), (1, 0), (2, 3), (3, 2)]]
    for mine, theirs in zip(_tokens(rloo.make_experience(scored, BETA)), expected, strict=True):
        assert mine == pytest.approx(theirs)


def test_reinforce_pays_each_token_what_is_still_to_come_whitened_over_the_update() -> None:
    scored = _scored([1.0, 2.0, 0.0, -1.0])
    now, ref = scored.rollout.logprobs.numpy(), scored.ref_logprobs.numpy()
    rewards = episodes.shaped_rewards(scored.scores.numpy(), now, ref, MASK, BETA)
    still = np.zeros(rewards.shape)
    for row, length in enumerate(LENGTHS):
        still[row, :length] = [rewards[row, place:length].sum() for place in range(length)]
    expected = episodes.whiten(still, MASK, shift_mean=True)
    found = reinforce.make_experience(scored, BETA)
    np.testing.assert_allclose(found.advantages.numpy()[MASK], expected[MASK], atol=1e-6)


def _job(place: Path, stage: str, own: dict[str, Any] | None = None, **changes: Any) -> Job:
    settings = {f"{stage}.{key}": value for key, value in (own or {}).items()}
    return tiny.job(tiny.recipe(place, **BY_FUNCTION | settings | changes), place, stage)


def _train(job: Job) -> Any:
    return STAGES[job.name].load(STAGES[job.name].train)(job)


CASES = [*(("grpo", own) for own in KIN), ("rloo", {}), ("reinforce", {})]
every_case = pytest.mark.parametrize(("stage", "own"), CASES, ids=[f"{stage} {own}" for stage, own in CASES])


@every_case
def test_it_runs_to_its_end(stage: str, own: dict[str, Any], tmp_path: Path) -> None:
    job = _job(tmp_path, stage, own)
    result = _train(job)
    rows = read_jsonl(job.directory.metrics)
    assert (result.steps, result.episodes) == (2, 16)
    assert result.ratio_max_deviation < 1e-4
    assert all(np.isfinite([value for value in row.values() if value is not None]).all() for row in rows)
    known = {metric.name for metric in STAGES[stage].metrics} | {"step"}
    assert {name for row in rows for name in row} <= known | {name for row in rows for name in row if "judge_" in name}
    assert ("even_groups" in rows[-1]) is (stage != "reinforce")
    assert ("kl_loss" in rows[-1]) is ("penalty" in own)
    assert rows[-1]["kl_exact"] > 0


@every_case
def test_the_size_of_a_micro_batch_changes_nothing(stage: str, own: dict[str, Any], tmp_path: Path) -> None:
    """In particular not where the loss is a mean over responses, which differ in length."""
    metrics = []
    for tokens in (2048, 12):
        job = _job(tmp_path / str(tokens), stage, own, **{"compute.learn_tokens": tokens, "rollout.max_new_tokens": 12})
        _train(job)
        metrics.append(read_jsonl(job.directory.metrics)[1:])
    for whole, parts in zip(*metrics, strict=True):
        for name in ("policy_loss", "grad_norm", "clip_fraction", "approx_kl", "score", "kl_exact"):
            assert parts[name] == pytest.approx(whole[name], rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("stage", tiny.WITHOUT_CRITIC)
def test_it_goes_on_from_a_checkpoint_to_the_bit(stage: str, tmp_path: Path) -> None:
    changes = {f"{stage}.updates": 4, "checkpoints.every_steps": 1}
    ends_as_if_it_had_not_been_killed(lambda place: _job(place, stage, **changes), _train, tmp_path)


@pytest.mark.parametrize("layout", ["shared", "separate"])
def test_a_raised_beta_is_paid_where_the_penalty_is_in_the_loss(layout: str, tmp_path: Path) -> None:
    """The controller's β, not the recipe's: the first update has none to pay, the second does."""
    adaptive = {"kl": {"beta": 1.0, "controller": "adaptive", "target": 1e-4, "horizon": 8.0}}
    found = {}
    for name, own in {"fixed": {"kl": {"beta": 1.0}}, "adaptive": adaptive}.items():
        job = _job(tmp_path / name, "grpo", PENALISED | own | {"updates": 3}, roles=layout)
        _train(job)
        found[name] = read_jsonl(job.directory.metrics)[1:]
    assert [row["beta"] for row in found["adaptive"]] != [row["beta"] for row in found["fixed"]]
    assert found["adaptive"][0]["policy_loss"] == found["fixed"][0]["policy_loss"]
    assert found["adaptive"][-1]["policy_loss"] != found["fixed"][-1]["policy_loss"]


@pytest.mark.parametrize("stage", ["grpo", "rloo"])
def test_one_response_a_prompt_is_refused_since_it_has_nothing_to_be_compared_with(stage: str) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        tiny.Recipe.model_validate({stage: {"responses_per_prompt": 1}})
