"""PPO: experience by the formulas, a ratio against the policy that sampled, and as many steps as the recipe says."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import promised
import pytest
import tiny
import torch
from oracles import distributions, episodes, losses

from truing.config.algorithms import Ppo
from truing.config.recipe import Recipe
from truing.config.sections import MissingEos
from truing.core.batches import Sequences
from truing.core.experience import Experience, Rollout
from truing.core.results import to_json
from truing.models.layout import PpoRoles, ppo_roles
from truing.models.scoring import response_logprobs
from truing.runs.metrics import read_jsonl
from truing.stages.objective import Scored
from truing.stages.ppo import make_experience, policy_loss, ppo_objective, train_ppo
from truing.stages.reward import train_reward
from truing.stages.update import Update, after_missing_eos, learn
from truing.stages.update_metrics import rollout_metrics
from truing.training.learner import Learner

PAD = len(tiny.LETTERS) + 1
BY_FUNCTION = {"rewards.sources": [{"kind": "function", "path": "letters:letter_a", "normalise": False}]}


def _scored(seed: int = 0) -> Scored:
    """Three responses of 4, 1 and 3 tokens, the last without eos, with something vile where nothing counts."""
    lengths = [4, 1, 3]
    mask = np.arange(4)[None] < np.array(lengths)[:, None]
    numbers = np.random.default_rng(seed)
    logprobs, ref, kl, entropy, values = (
        torch.tensor(np.where(mask, numbers.normal(size=(3, 4)), 1e9)) for _ in range(5)
    )
    rollout = Rollout(
        Sequences.collate([[1], [2, 3], [4]], [[5 + n] * length for n, length in enumerate(lengths)], PAD),
        logprobs,
        finished=torch.tensor([True, True, False]),
        groups=torch.arange(3),
    )
    scores = torch.tensor(numbers.normal(size=3))
    rewards = after_missing_eos(scores, rollout.finished, MissingEos(value=1.5))
    return Scored(rollout, scores, rewards, ref, kl, entropy, values)


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_experience_is_that_of_the_formulas(whiten: bool, beta: float) -> None:
    settings = Ppo(whiten_rewards=whiten, gamma=0.9, gae_lambda=0.8)
    scored = _scored()
    mask = scored.rollout.sequences.response_mask.numpy()
    logprobs, ref, values = (x.numpy() for x in (scored.rollout.logprobs, scored.ref_logprobs, scored.values))
    scores = scored.scores.numpy() - np.array([0, 0, 1.5])
    rewards = episodes.shaped_rewards(scores, logprobs, ref, mask, beta)
    if whiten:
        rewards = episodes.whiten(rewards, mask, shift_mean=False)
    advantages, returns = episodes.gae(rewards, values, mask, 0.9, 0.8)
    found = make_experience(scored, beta, settings)
    np.testing.assert_allclose(found.returns.numpy()[mask], returns[mask], atol=1e-8)
    np.testing.assert_allclose(
        found.advantages.numpy()[mask], episodes.whiten(advantages, mask, shift_mean=True)[mask], atol=1e-6
    )
    assert found.old_logprobs is scored.rollout.logprobs
    assert found.old_values is scored.values
    assert found.groups is scored.rollout.groups


def test_the_metrics_of_an_update_are_means_over_what_counts() -> None:
    scored = _scored()
    mask = scored.rollout.sequences.response_mask.numpy()
    kl = ((scored.rollout.logprobs - scored.ref_logprobs).numpy() * mask).sum(1)
    penalised = scored.scores.numpy() - np.array([0, 0, 1.5])
    experience = make_experience(scored, 0.3, Ppo())
    metrics = rollout_metrics(scored, experience, 0.3)
    returns, values = experience.returns.numpy()[mask], scored.values.numpy()[mask]
    expected = {
        "explained_variance": 1 - (returns - values).var() / returns.var(),
        "score": scored.scores.numpy().mean(),
        "score_std": scored.scores.numpy().std(),
        "objective": (penalised - 0.3 * kl).mean(),
        "kl": kl.mean(),
        "kl_exact": (scored.kl_exact.numpy() * mask).sum(1).mean(),
        "beta": 0.3,
        "entropy": episodes.mean(episodes.counted_values(scored.entropy.numpy(), mask)),
        "length": 8 / 3,
        "eos_rate": 2 / 3,
        "distinct_2": 2 / 5,  # five pairs of neighbours, of two kinds
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-6)


class _Noted:
    """A learner that learns nothing and notes what it was asked to."""

    learning_rate = 0.0

    def __init__(self) -> None:
        self.asked: list[tuple[Experience, float]] = []

    def forward_backward(self, batch: Experience, loss_fn: Any) -> dict[str, float]:
        loss, stats = loss_fn(batch)
        self.asked.append((batch, loss.item()))
        return {"loss": loss.item()} | {name: float(value) for name, value in stats.items()}

    def step(self) -> float:
        return 0.0


def _set_up(place: Path, **changes: Any) -> tuple[Recipe, PpoRoles]:
    """Roles with a reward model that a tiny reward stage has learnt."""
    recipe = tiny.recipe(place, **changes)
    reward = tiny.job(recipe, place, "reward")
    train_reward(reward)
    ready = tiny.job(recipe, place, "ppo", reward.directory.root)
    return recipe, ppo_roles(recipe, ready.start, ready.reward)


def _updates(recipe: Recipe, roles: PpoRoles, noted: _Noted | None = None) -> Update:
    made = tiny.ppo_update(recipe, roles)
    return made if noted is None else replace(made, learner=noted)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["shared", "separate"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_each_update_begins_with_a_ratio_of_one_although_the_policy_has_left_the_reference(
    layout: str, temperature: float, tmp_path: Path
) -> None:
    recipe, roles = _set_up(tmp_path, **{"roles": layout, "rollout.temperature": temperature, "ppo.updates": 3})
    update = _updates(recipe, roles)
    updates = [update.run(number, 0.05) for number in (1, 2, 3)]
    assert all(metrics["ratio_max_deviation"] < 1e-5 for metrics in updates)
    assert updates[0]["kl_exact"] < 1e-5 < 1e-3 < updates[1]["kl_exact"] < updates[2]["kl_exact"]
    assert all(metrics["approx_kl"] > 1e-7 for metrics in updates)


@pytest.mark.parametrize("layout", ["shared", "separate"])
def test_an_update_moves_policy_and_critic_and_leaves_reference_and_reward(layout: str, tmp_path: Path) -> None:
    recipe, roles = _set_up(tmp_path, roles=layout)
    assert roles.reward is not None
    learnt = {id(weight) for role in (roles.policy, roles.critic) for weight in role.parameters()}
    models = {role.model for role in (roles.policy, roles.reference, roles.critic, roles.reward)}
    held = {id(weight): weight for model in models for weight in model.parameters() if id(weight) not in learnt}
    held |= {id(weight): weight for weight in roles.reward.parameters()}
    before = {key: weight.detach().clone() for key, weight in held.items()}
    moving = [[weight.detach().clone() for weight in role.parameters()] for role in (roles.policy, roles.critic)]
    _updates(recipe, roles).run(1, 0.05)
    assert all(torch.equal(weight, before[key]) for key, weight in held.items())
    for old, role in zip(moving, (roles.policy, roles.critic), strict=True):
        assert any(not torch.equal(one, weight) for one, weight in zip(old, role.parameters(), strict=True))


@pytest.mark.parametrize(("epochs", "minibatches"), [(1, 1), (3, 1), (1, 4), (2, 4)])
def test_minibatches_are_optimiser_steps(
    epochs: int, minibatches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path, **BY_FUNCTION, **{"ppo.epochs": epochs, "ppo.minibatches": minibatches})
    steps = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (steps.append(1), step(self)))
    train_ppo(tiny.job(recipe, tmp_path, "ppo"))
    assert len(steps) == 2 * epochs * minibatches


def test_every_episode_of_an_update_is_learnt_from_once_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, roles = _set_up(tmp_path, **{"ppo.epochs": 3, "ppo.minibatches": 4})
    learnt = []
    forward_backward = Learner.forward_backward
    monkeypatch.setattr(
        Learner,
        "forward_backward",
        lambda self, batch, loss: (learnt.append(batch.old_logprobs), forward_backward(self, batch, loss))[1],
    )
    _updates(recipe, roles).run(1, 0.05)
    policy = learnt[::2]  # the critic learns from the same minibatch right after
    assert [len(batch) for batch in policy] == [2] * 12
    firsts = [float(row[0]) for batch in policy for row in batch]
    epochs = [firsts[:8], firsts[8:16], firsts[16:]]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert epochs[0] != epochs[1]


def test_every_update_shuffles_in_an_order_of_its_own(tmp_path: Path) -> None:
    recipe, roles = _set_up(tmp_path)
    noted: Any = _Noted()
    _updates(recipe, roles, noted).run(1, 0.05)
    (first, _), *_ = noted.asked
    for number in (1, 1, 2):
        learn(first, ppo_objective(recipe, roles), noted, recipe.seed, number)
    half = len(noted.asked) // 4
    one, again, other = (
        [batch.sequences.tokens.tolist() for batch, _ in noted.asked[half * part : half * (part + 1)]]
        for part in (1, 2, 3)
    )
    assert one == again
    assert one != other


def test_a_run_leaves_what_it_promises(tmp_path: Path) -> None:
    changes = {"ppo.updates": 3, "evaluation.every": 2, "evaluation.judges": {"letters": "letters:letter_a"}}
    job = tiny.job(tiny.recipe(tmp_path, pad=None, **BY_FUNCTION, **changes), tmp_path, "ppo")
    result = to_json(train_ppo(job))
    metrics, samples = read_jsonl(job.directory.metrics), read_jsonl(job.directory.samples)
    assert [row["step"] for row in metrics] == [0, 1, 2, 3]
    assert all(row.keys() >= promised.PPO_METRICS for row in metrics[1:])
    assert [row["episodes"] for row in metrics[1:]] == [8, 16, 24]
    assert [row["step"] for row in metrics if "heldout_score" in row] == [0, 2, 3]
    assert result.keys() >= promised.RESULT["ppo"]
    assert (result["steps"], result["episodes"], result["stopped_by"]) == (3, 24, "updates")
    assert result["score_first"] == metrics[1]["score"]
    assert result["score_last"] == metrics[3]["score"]
    assert result["kl_last"] == metrics[3]["kl"]
    assert "no pad token" in result["notes"][0]
    assert [row["step"] for row in samples] == [0] * 4 + [2] * 4 + [3] * 4
    assert [row["prompt"] for row in samples[:4]] == [row["prompt"] for row in samples[4:8]]
    assert all(row["judges"]["letters"] == row["response"].count("a") for row in samples)
    assert abs(samples[0]["kl"]) < 1e-4


def test_beta_moves_with_the_kl_that_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, run = [1.1, 0.95, 5.0, 1.0], Update.run
    monkeypatch.setattr(Update, "run", lambda self, number, beta: run(self, number, beta) | {"kl": seen[number - 1]})
    kl = {"beta": 0.5, "controller": "adaptive", "target": 1.0, "horizon": 16.0}
    job = tiny.job(tiny.recipe(tmp_path, **BY_FUNCTION, **{"ppo.updates": 4, "ppo.kl": kl}), tmp_path, "ppo")
    train_ppo(job)
    betas = [row["beta"] for row in read_jsonl(job.directory.metrics)[1:]]
    assert betas == pytest.approx([0.5, 0.5 * 1.05, 0.5 * 1.05 * 0.975, 0.5 * 1.05 * 0.975 * 1.1])


def test_the_logged_kl_is_that_of_the_full_distributions(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **BY_FUNCTION, **{"rollout.max_new_tokens": 1, "ppo.updates": 2})
    job = tiny.job(recipe, tmp_path, "ppo")
    roles = ppo_roles(recipe, job.start, None)
    update = _updates(recipe, roles)
    update.run(1, 0.05)
    kls = []
    for prompt in update.rollouts.prompts.of_episodes(range(8, 16), recipe.seed):
        tokens = torch.tensor([prompt.tokens])
        with torch.no_grad():
            p, q = (
                role.logits(role.hidden(tokens, torch.ones_like(tokens)))[0, -1].numpy()
                for role in (roles.policy, roles.reference)
            )
        kls.append(distributions.kl(p, q))
    metrics = update.run(2, 0.05)
    assert metrics["kl_exact"] == pytest.approx(sum(kls) / 8, rel=1e-3)
    assert math.isfinite(metrics["kl"])


def test_both_losses_are_clipped_as_the_recipe_says_and_the_value_loss_is_logged_without_its_coefficient(
    tmp_path: Path,
) -> None:
    settings = {"clip_range": 0.05, "value_clip_range": 0.3, "value_coefficient": 0.25, "epochs": 1, "minibatches": 1}
    recipe, roles = _set_up(tmp_path, **{f"ppo.{name}": value for name, value in settings.items()})
    noted: Any = _Noted()
    _updates(recipe, roles, noted).run(1, 0.05)
    (now, _), _ = noted.asked  # of a policy and a critic that have not moved, so these are what both say now
    numbers = torch.Generator().manual_seed(0)
    logprobs, values = (
        part + torch.randn(part.shape, generator=numbers) / 2 for part in (now.old_logprobs, now.old_values)
    )
    moved = replace(now, old_logprobs=logprobs, old_values=values)
    metrics = learn(moved, ppo_objective(recipe, roles), noted, recipe.seed, 1)
    _, _, (batch, policy), (_, value) = noted.asked
    mask = batch.sequences.response_mask.numpy()
    order = [now.sequences.tokens.tolist().index(row) for row in batch.sequences.tokens.tolist()]
    logprobs, values = (part[order].numpy() for part in (now.old_logprobs, now.old_values))
    old_logprobs, old_values, advantages, returns = (
        part.numpy() for part in (batch.old_logprobs, batch.old_values, batch.advantages, batch.returns)
    )
    expected = losses.ppo_policy(logprobs, old_logprobs, advantages, mask, 0.05)
    expected_value = losses.ppo_value(values, old_values, returns, mask, 0.3)
    assert policy == pytest.approx(expected["loss"], rel=1e-3)
    assert metrics["clip_fraction"] == pytest.approx(expected["clip_fraction"])
    assert value == pytest.approx(0.25 * expected_value["loss"], rel=1e-3)
    assert metrics["value_loss"] == pytest.approx(expected_value["loss"], rel=1e-3)
    assert metrics["value_clip_fraction"] == pytest.approx(expected_value["value_clip_fraction"])


def test_the_critic_may_learn_at_a_rate_of_its_own(tmp_path: Path) -> None:
    recipe, roles = _set_up(tmp_path, **{"ppo.critic_learning_rate": 1e-12})
    before = [[weight.detach().clone() for weight in role.parameters()] for role in (roles.policy, roles.critic)]
    _updates(recipe, roles).run(1, 0.05)
    moved = [
        max((old - new.detach()).abs().max().item() for old, new in zip(olds, role.parameters(), strict=True))
        for olds, role in zip(before, (roles.policy, roles.critic), strict=True)
    ]
    assert moved[0] > 1e-4
    assert moved[1] < 1e-9


def test_a_token_counts_by_its_weight_in_the_policy_loss(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    assert recipe.base is not None
    policy = ppo_roles(recipe, recipe.base, None).policy
    sequences = Sequences.collate([[1, 2], [3]], [[4, 5], [6]], PAD)
    with torch.no_grad():
        old = response_logprobs(policy, sequences)
    advantages, weights = torch.tensor([[1.0, -2.0], [3.0, 9.0]]), torch.tensor([[2.0, 0.5], [0.25, 9.0]])
    batch = Experience(sequences, old, advantages, torch.arange(2), weights=weights)
    loss, _ = policy_loss(policy, batch, recipe.ppo, temperature=1.0)
    assert loss.item() == pytest.approx(-(2.0 * 1.0 - 0.5 * 2.0 + 0.25 * 3.0) / 3)  # every ratio is 1
