"""Direct preference optimisation: from preferences to a policy without a reward model. See docs/algorithms/dpo.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from truing.config.algorithms import Dpo
from truing.config.defaults import given
from truing.config.recipe import Recipe
from truing.core.batches import PairBatch
from truing.core.llm_usage import costs
from truing.core.results import DpoResult, PairCard, read, to_json
from truing.core.rows import PairRows, TokenRows
from truing.data.batching import optimiser_batches
from truing.evaluation.heldout import HeldoutEvaluator
from truing.evaluation.learning import still_finding
from truing.evaluation.pair_card import pair_card
from truing.functional import dpo_loss
from truing.models.layout import policy_roles
from truing.models.roles import Role
from truing.models.scoring import forward_in_micro_batches, sequence_logprobs
from truing.rewards.build import build_reward
from truing.stages.offline import learn_rows
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import Learner, Trained

LOGGED = ("heldout_accuracy", "heldout_loss", "score_gap_mean")
"""Of what is measured on held-out pairs, in every evaluation"""


@dataclass(frozen=True)
class ReferencedPairs:
    """Pairs on a device, and how likely the reference thinks their responses."""

    pairs: PairBatch
    ref_chosen: Tensor
    """(B,) log π_ref of the chosen response, nats"""
    ref_rejected: Tensor
    """(B,) the same of the rejected one"""


@dataclass(frozen=True)
class ReferencedRows:
    """Pairs that wait, with the reference's log-probabilities: measured once, kept for every epoch."""

    pairs: PairRows
    ref_chosen: Tensor
    ref_rejected: Tensor

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def count(self) -> int:
        return self.pairs.count

    @property
    def token_counts(self) -> list[int]:
        return self.pairs.token_counts

    @property
    def names(self) -> Sequence[str]:
        return self.pairs.names

    def rows(self, index: Sequence[int]) -> Self:
        chosen = torch.as_tensor(index, device=self.ref_chosen.device)
        return type(self)(self.pairs.rows(index), self.ref_chosen[chosen], self.ref_rejected[chosen])

    def to(self, device: torch.device) -> ReferencedPairs:
        return ReferencedPairs(self.pairs.to(device), self.ref_chosen.to(device), self.ref_rejected.to(device))


def preference_loss(policy: Role, batch: ReferencedPairs, settings: Dpo) -> tuple[Tensor, dict[str, Tensor]]:
    """The DPO loss of a batch, and what the policy's implicit reward β·log(π/π_ref) says of it."""
    average = averages_over_tokens(settings)
    chosen = sequence_logprobs(policy, batch.pairs.chosen, average)
    rejected = sequence_logprobs(policy, batch.pairs.rejected, average)
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


def train_dpo(job: Job) -> DpoResult:
    """Trains on the preferences, evaluates on held-out pairs and prompts as it goes, saves `model/`."""
    recipe, settings = job.recipe, job.recipe.dpo
    roles = policy_roles(recipe, job.start, job.reward, job.tokens)
    pairs = job.preferences()
    train = with_reference(roles.reference, pairs.train, recipe)
    heldout = with_reference(roles.reference, pairs.heldout, recipe)
    plan = optimiser_batches(len(train), given(settings.batch_size), given(settings.epochs), recipe.seed, job.spec.name)
    trained = Trained("policy", roles.policy, given(settings.optimiser.learning_rate))
    learner = Learner([trained], settings.optimiser, len(plan), given(recipe.compute.learn_tokens))
    with open_journal(job, learner, len(plan)) as journal:
        prompts = job.prompts().without(pairs.train.chosen.prompts)
        scored = roles.reward is not None  # by the reward of the recipe, which DPO does not learn from
        scales = journal.recall("normalisations", None)
        reward = build_reward(recipe, roles, prompts, scales, job.llm_answers) if scored else None
        evaluator = HeldoutEvaluator(
            recipe, roles, reward, prompts.heldout, journal.samples, journal.earlier_samples, job.llm_answers
        )
        memory = {"card": journal.recall("card", None), "normalisations": reward.normalisations if reward else None}

        def evaluate(step: int) -> dict[str, Any]:
            if step == 0:  # the policy is the reference, so its own reward is 0 for every pair
                return evaluator.evaluate(step)
            memory["card"] = to_json(heldout_card(roles.policy, heldout, recipe))
            return {name: memory["card"][name] for name in LOGGED} | evaluator.evaluate(step)

        learn_rows(
            journal,
            learner,
            train,
            plan,
            losses=[lambda batch: preference_loss(roles.policy, batch, settings)],
            shown=("loss", "accuracy", "margin"),
            evaluate=evaluate,
            every=recipe.evaluation.every,
            remember=lambda: dict(memory),
        )
    first, last = journal.rows[0], journal.rows[-1]
    result = DpoResult(
        card=read(PairCard, journal.memory["card"]),
        heldout=evaluator.result(),
        kl_last=last["heldout_kl"],
        length_first=first["heldout_length"],
        length_last=last["heldout_length"],
        eos_rate_last=last["heldout_eos_rate"],
        warnings=evaluator.warnings(_as_of_rollouts(first), _as_of_rollouts(last)),
        findings=[
            *still_finding(last["heldout_kl"], job.spec.name, "beta"),
            *evaluator.findings(job.spec.name, "beta"),
        ],
        steps=len(plan),
        train_pairs=len(train),
        beta=settings.beta,
        variant=settings.variant,
        truncation=pairs.report,
        notes=[*roles.base.notes, *costs(job.llm_answers.usage())],
    )
    job.save_policy(roles.policy, roles.base, result)
    return result


def with_reference(reference: Role, pairs: PairRows, recipe: Recipe) -> ReferencedRows:
    """The pairs with the reference's log-probabilities: one pass, before anything is learnt."""
    return ReferencedRows(
        pairs, _logprobs(reference, pairs.chosen, recipe), _logprobs(reference, pairs.rejected, recipe)
    )


def heldout_card(policy: Role, heldout: ReferencedRows, recipe: Recipe) -> PairCard:
    """The policy's implicit reward on pairs that are not learnt from, judged as a reward model is."""
    chosen = _logprobs(policy, heldout.pairs.chosen, recipe)
    rejected = _logprobs(policy, heldout.pairs.rejected, recipe)
    return pair_card(
        recipe.dpo.beta * (chosen - heldout.ref_chosen),
        recipe.dpo.beta * (rejected - heldout.ref_rejected),
        heldout.pairs.chosen.response_lengths,
        heldout.pairs.rejected.response_lengths,
    )


def _logprobs(role: Role, rows: TokenRows, recipe: Recipe) -> Tensor:
    """(B,) log π(response), nats, summed over tokens or averaged as the variant has it."""
    average = averages_over_tokens(recipe.dpo)
    (logprobs,) = forward_in_micro_batches(
        role, rows, given(recipe.compute.score_tokens), lambda part, _: (sequence_logprobs(role, part, average),)
    )
    return logprobs


def _as_of_rollouts(row: dict[str, Any]) -> dict[str, float]:
    """An evaluation's metrics under the names that updates log theirs with."""
    return row | {name: row[f"heldout_{name}"] for name in ("length", "eos_rate", "kl")}
