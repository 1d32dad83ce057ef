"""The online loop is no algorithm: groups of responses, and one that needs no critic, written down in a few lines."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import promised
import pytest
import tiny
import torch
from stages.killed import ends_as_if_it_had_not_been_killed
from torch import Tensor
from transformers import AutoModelForCausalLM

from truing.config.recipe import Recipe
from truing.config.sections import MissingEos
from truing.core.errors import TrainingError
from truing.core.experience import Experience
from truing.core.results import to_json
from truing.functional import masked_mean, ppo_policy_loss
from truing.models.layout import Roles, policy_roles, ppo_roles
from truing.models.model_card import BY_FUNCTIONS
from truing.models.scoring import response_logprobs
from truing.runs.metrics import read_jsonl
from truing.stages.objective import LossTerm, Objective, Scored
from truing.stages.online import train_online
from truing.stages.update import Update, after_missing_eos
from truing.training.job import Job
from truing.training.learner import Trained

LETTERS = {"kind": "function", "path": "letters:letter_a", "normalise": False}
BY_FUNCTION = {"rewards.sources": [LETTERS], "ppo.responses_per_prompt": 2}
CRITICS = {"value_loss", "value_clip_fraction", "explained_variance"}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("keep", [1.0, -2.0, 3.0]), ("subtract", [1.0, -7.0, 3.0]), ("replace", [1.0, 5.0, 3.0])],
)
def test_the_score_of_a_response_without_eos_follows_the_rule(policy: str, expected: list[float]) -> None:
    rule = MissingEos.model_validate({"policy": policy, "value": 5.0})
    scores, finished = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([True, False, True])
    assert after_missing_eos(scores, finished, rule).tolist() == expected


class _Watching:
    """Passes an update's experience on and keeps it, and its score out of the batch's first response if told."""

    def __init__(self, update: Update, drops: bool = False) -> None:
        self.scored: list[Scored] = []
        self._drops = drops
        self._inner = update.objective.experience
        self.update = replace(update, objective=replace(update.objective, experience=self._experience), reward=self)

    def _experience(self, scored: Scored, beta: float) -> Experience:
        self.scored.append(scored)
        return self._inner(scored, beta)

    def score(self, samples: Any) -> list[float]:
        return [float("nan") if self._drops and n == 0 else float(n) for n, _ in enumerate(samples)]


def _watched(place: Path, drops: bool = False, **changes: Any) -> _Watching:
    recipe = tiny.recipe(place, **{"ppo.minibatches": 1} | changes)
    assert recipe.base is not None
    roles = ppo_roles(recipe, recipe.base, None)
    return _Watching(tiny.ppo_update(recipe, roles, reward=object()), drops)


def test_neighbours_answer_the_same_prompt_with_draws_of_their_own(tmp_path: Path) -> None:
    watching = _watched(tmp_path, **{"ppo.responses_per_prompt": 2, "rollout.max_new_tokens": 12})
    for number in (1, 2):
        watching.update.run(number, 0.05)
    asked = [prompt for scored in watching.scored for prompt in scored.rollout.sequences.prompts]
    assert asked[::2] == asked[1::2]
    wanted = watching.update.rollouts.prompts.of_episodes(range(8), watching.update.recipe.seed)
    assert [tuple(prompt) for prompt in asked[::2]] == [prompt.tokens for prompt in wanted]
    groups = [group for scored in watching.scored for group in scored.rollout.groups.tolist()]
    assert groups == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    said = [response for scored in watching.scored for response in scored.rollout.sequences.responses]
    assert all(one != other for one, other in zip(said[::2], said[1::2], strict=True))


def test_alone_every_response_is_that_of_its_episode_and_a_group_of_its_own(tmp_path: Path) -> None:
    watching = _watched(tmp_path)
    for number in (1, 2):
        watching.update.run(number, 0.05)
    wanted = watching.update.rollouts.prompts.of_episodes(range(16), watching.update.recipe.seed)
    asked = [prompt for scored in watching.scored for prompt in scored.rollout.sequences.prompts]
    assert [tuple(prompt) for prompt in asked] == [prompt.tokens for prompt in wanted]
    assert [group for scored in watching.scored for group in scored.rollout.groups.tolist()] == list(range(16))


def test_groups_outlive_a_score_that_is_dropped(tmp_path: Path) -> None:
    watching = _watched(tmp_path, drops=True, **{"ppo.responses_per_prompt": 2})
    metrics = watching.update.run(1, 0.05)
    (scored,) = watching.scored
    assert metrics["dropped"] == 1
    assert scored.rollout.groups.tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert scored.scores.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    prompts = scored.rollout.sequences.prompts
    assert prompts[1::2] == prompts[2::2]


def rloo(recipe: Recipe, roles: Roles, term: Callable[[Tensor, Experience], Any]) -> Objective:
    """REINFORCE with the other responses to the same prompt as the baseline (Ahmadian et al. 2024)."""

    def experience(scored: Scored, beta: float) -> Experience:
        rollout, objective = scored.rollout, scored.rewards - beta * scored.kl
        same = (rollout.groups[:, None] == rollout.groups).float()
        others = (same @ objective - objective) / (same.sum(1) - 1)
        advantages = (objective - others)[:, None].expand_as(rollout.logprobs)
        return Experience(rollout.sequences, rollout.logprobs, advantages, rollout.groups)

    def loss(batch: Experience) -> Any:
        return term(response_logprobs(roles.policy, batch.sequences, recipe.rollout.temperature), batch)

    trained = Trained("policy", roles.policy, recipe.ppo.optimiser.learning_rate)
    return Objective(recipe.ppo, experience, [LossTerm("policy_loss", loss)], [trained])


def clipped(logprobs: Tensor, batch: Experience) -> tuple[Tensor, dict[str, Tensor]]:
    return ppo_policy_loss(logprobs, batch.old_logprobs, batch.advantages, batch.sequences.response_mask)


def reinforce(logprobs: Tensor, batch: Experience) -> tuple[Tensor, dict[str, Tensor]]:
    return -masked_mean(logprobs * batch.advantages, batch.sequences.response_mask), {}


def _trained(job: Job, term: Callable[[Tensor, Experience], Any] = clipped) -> dict[str, Any]:
    roles = policy_roles(job.recipe, job.start, job.reward)
    return to_json(train_online(job, roles, rloo(job.recipe, roles, term)))


@pytest.mark.parametrize("term", [clipped, reinforce])
@pytest.mark.parametrize("layout", ["shared", "separate"])
def test_an_algorithm_without_a_critic_runs_to_its_end(
    term: Callable[[Tensor, Experience], Any], layout: str, tmp_path: Path
) -> None:
    recipe = tiny.recipe(tmp_path, roles=layout, **BY_FUNCTION, **{"ppo.updates": 3})
    job = tiny.job(recipe, tmp_path, "ppo")
    result = _trained(job, term)
    metrics = read_jsonl(job.directory.metrics)
    of_clipping = {"clip_fraction", "approx_kl", "ratio_max_deviation"}
    wanted = promised.PPO_METRICS - CRITICS | {"policy_loss"}
    assert all(row.keys() >= wanted - (of_clipping if term is reinforce else set()) for row in metrics[1:])
    assert all(np.isfinite([value for value in row.values() if value is not None]).all() for row in metrics)
    assert not any(CRITICS & row.keys() for row in metrics)
    assert (result["ratio_max_deviation"] is None) is (term is reinforce)
    assert result.keys() >= promised.RESULT["ppo"]
    assert (result["steps"], result["episodes"], result["stopped_by"]) == (3, 24, "updates")
    assert metrics[-1]["kl_exact"] > 1e-4 > abs(metrics[0]["heldout_kl"])
    AutoModelForCausalLM.from_pretrained(job.directory.model)
    card = (job.directory.model / "README.md").read_text(encoding="utf-8")
    assert "| Score, raw | " in card
    assert BY_FUNCTIONS in card


def test_its_advantages_are_those_of_the_formula(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **BY_FUNCTION | {"ppo.minibatches": 1, "ppo.responses_per_prompt": 4})
    assert recipe.base is not None
    roles = ppo_roles(recipe, recipe.base, None)
    made = replace(tiny.ppo_update(recipe, roles, reward=object()), objective=rloo(recipe, roles, clipped))
    watching = _Watching(made)
    watching.update.run(1, 0.05)  # the policy leaves its reference, so that there is a price to pay
    watching.update.run(2, 0.3)
    scored = watching.scored[-1]
    logprobs, ref = scored.rollout.logprobs.double().numpy(), scored.ref_logprobs.double().numpy()
    lengths = scored.rollout.sequences.response_lengths.tolist()
    objective = [
        float(reward) - 0.3 * sum(logprobs[row, t] - ref[row, t] for t in range(lengths[row]))
        for row, reward in enumerate(scored.rewards.tolist())
    ]
    expected = [
        objective[row] - np.mean([objective[other] for other in range(8) if other // 4 == row // 4 and other != row])
        for row in range(8)
    ]
    found = watching.update.objective.experience(scored, 0.3).advantages
    mask = scored.rollout.sequences.response_mask
    assert scored.kl.abs().max() > 1e-3
    for row in range(8):
        assert found[row][mask[row]].tolist() == pytest.approx([expected[row]] * lengths[row], abs=1e-4)


def test_it_goes_on_from_a_checkpoint_to_the_bit(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **BY_FUNCTION, **{"ppo.updates": 4, "checkpoints.every_steps": 1})
    ends_as_if_it_had_not_been_killed(lambda place: tiny.job(recipe, place, "ppo"), _trained, tmp_path)


def test_a_sampler_that_is_not_the_learner_ends_the_stage_before_it_is_saved(tmp_path: Path) -> None:
    def off(logprobs: Tensor, batch: Experience) -> tuple[Tensor, dict[str, Tensor]]:
        return clipped(logprobs + 0.06, batch)

    job = tiny.job(tiny.recipe(tmp_path, **BY_FUNCTION, **{"checkpoints.every_steps": 1}), tmp_path, "ppo")
    with pytest.raises(TrainingError) as refused:
        _trained(job, off)
    assert refused.value.code == "training/ratio"
    assert refused.value.where == "ppo step 1"
    assert "0.062 away from 1" in refused.value.what  # e^0.06 − 1
    assert not job.directory.checkpoints.exists()


def test_what_was_found_of_the_policy_is_in_its_result(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **BY_FUNCTION, **{"ppo.optimiser.learning_rate": 1e-9})
    findings = _trained(tiny.job(recipe, tmp_path, "ppo"))["findings"]
    assert any("did not move" in finding for finding in findings)
    assert any("reached the clip range" in finding for finding in findings)
