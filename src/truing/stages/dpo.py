"""Direct preference optimisation: from preferences to a policy without a reward model. See docs/algorithms/dpo.md."""

from typing import Any

import torch
from torch import Tensor

from truing.config.algorithms import Dpo
from truing.config.recipe import Recipe
from truing.core.batches import PairBatch, ReferencedPairs
from truing.data.batching import optimiser_batches
from truing.evaluation.heldout import HeldoutEvaluator
from truing.evaluation.report_card import reward_report_card
from truing.functional import dpo_loss
from truing.models.layout import policy_roles
from truing.models.roles import Role
from truing.models.scoring import forward_in_micro_batches, sequence_logprobs
from truing.rewards.build import build_reward
from truing.rollout.episodes import load_prompts
from truing.stages.pairs import load_pairs
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import role_learner

LOGGED = ("heldout_accuracy", "heldout_loss", "score_gap_mean")


def preference_loss(policy: Role, batch: ReferencedPairs, settings: Dpo) -> tuple[Tensor, dict[str, Tensor]]:
    """The DPO loss of a batch, and what the policy's implicit reward β·log(π/π_ref) says of it."""
    mean, pairs = averages_over_tokens(settings), batch.pairs
    chosen, rejected = (sequence_logprobs(policy, side, mean) for side in (pairs.chosen, pairs.rejected))
    loss = dpo_loss(
        chosen,
        rejected,
        batch.ref_chosen,
        batch.ref_rejected,
        beta=settings.beta,
        variant=settings.variant,
        label_smoothing=settings.label_smoothing,
    )
    with torch.no_grad():
        chosen_reward = settings.beta * (chosen - batch.ref_chosen)
        rejected_reward = settings.beta * (rejected - batch.ref_rejected)
        stats = {
            "accuracy": (chosen_reward > rejected_reward).float().mean(),
            "margin": (chosen_reward - rejected_reward).mean(),
            "chosen_reward": chosen_reward.mean(),
            "rejected_reward": rejected_reward.mean(),
        }
    return loss, stats


def averages_over_tokens(settings: Dpo) -> bool:
    """Whether the variant takes a response's log-probability as the mean over its tokens, not the sum."""
    return settings.variant == "ipo"


def train_dpo(job: Job) -> dict[str, Any]:
    """Trains on the preferences, looks at held-out pairs and prompts as it goes, saves `model/`."""
    recipe, settings = job.recipe, job.recipe.dpo
    roles = policy_roles(recipe, job.start, job.reward)
    pairs = load_pairs(job, roles.base)
    train, heldout = (with_reference(roles.reference, side, recipe) for side in (pairs.train, pairs.heldout))
    batches = optimiser_batches(len(train), settings.batch_size, settings.epochs, recipe.seed, "dpo")
    learner = role_learner(roles.policy, settings.optimiser, len(batches), recipe.compute)
    with open_journal(job, learner, len(batches)) as journal:
        prompts = load_prompts(recipe, roles.base, job.progress).without(pairs.train.chosen.prompts)
        scored = roles.reward is not None  # by the reward of the recipe, which DPO does not learn from
        reward = build_reward(recipe, roles, prompts, journal.recall("normalisations", None)) if scored else None
        look = HeldoutEvaluator(recipe, roles, reward, prompts.heldout, journal)
        if not journal.rows:
            journal.log(0, look.take(0))
        for step in journal.remaining(len(batches)):
            batch, names = train.rows(batches[step - 1]), [pairs.places[row] for row in batches[step - 1]]
            figures = learner.train_step(batch, lambda micro: preference_loss(roles.policy, micro, settings), names)
            card = journal.recall("card", None)
            if step % recipe.evaluation.every == 0 or step == len(batches):
                card = report_card(roles.policy, heldout, recipe)
                figures |= {name: card[name] for name in LOGGED} | look.take(step)
            journal.log(step, figures, shown=("loss", "accuracy", "margin"))
            journal.done(step, card=card, normalisations=reward.normalisations if reward else None)
    job.save_policy(roles.policy, roles.base)
    return {
        **journal.memory["card"],
        **look.closing_figures(),
        **_drift_figures(journal.rows[0], journal.rows[-1], look),
        "steps": len(batches),
        "train_pairs": len(train),
        "beta": settings.beta,
        "variant": settings.variant,
        "truncation": pairs.truncation,
        "notes": list(roles.base.notes),
    }


def with_reference(reference: Role, pairs: PairBatch, recipe: Recipe) -> ReferencedPairs:
    """The pairs with the reference's log-probabilities: one pass, before anything is learnt."""
    return ReferencedPairs(pairs, *_pair_logprobs(reference, pairs, recipe))


def report_card(policy: Role, heldout: ReferencedPairs, recipe: Recipe) -> dict[str, Any]:
    """The policy's implicit reward on pairs that are not learnt from, judged as a reward model is."""
    chosen, rejected = _pair_logprobs(policy, heldout.pairs, recipe)
    return reward_report_card(
        recipe.dpo.beta * (chosen - heldout.ref_chosen),
        recipe.dpo.beta * (rejected - heldout.ref_rejected),
        heldout.pairs.chosen.response_lengths,
        heldout.pairs.rejected.response_lengths,
    )


def _pair_logprobs(role: Role, pairs: PairBatch, recipe: Recipe) -> tuple[Tensor, Tensor]:
    budget, mean = recipe.compute.score_tokens, averages_over_tokens(recipe.dpo)
    chosen, rejected = (
        forward_in_micro_batches(role, side, budget, lambda rows, _: (sequence_logprobs(role, rows, mean),))[0]
        for side in (pairs.chosen, pairs.rejected)
    )
    return chosen, rejected


def _drift_figures(first: dict[str, Any], last: dict[str, Any], look: HeldoutEvaluator) -> dict[str, Any]:
    def figures(row: dict[str, Any]) -> dict[str, float]:
        return row | {name: row[f"heldout_{name}"] for name in ("length", "eos_rate", "kl")}

    return {
        "kl_last": last["heldout_kl"],
        "length_first": first["heldout_length"],
        "length_last": last["heldout_length"],
        "eos_rate_last": last["heldout_eos_rate"],
        "warnings": look.warnings(figures(first), figures(last)),
    }
