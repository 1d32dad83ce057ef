"""The reward model: a scalar that ranks completions as people did. See docs/algorithms/reward.md."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from truing.config.algorithms import Reward
from truing.config.defaults import given
from truing.core.batches import PairBatch
from truing.core.normalisation import Normalisation
from truing.core.records import Sample
from truing.core.results import PairCard, RewardResult, to_json
from truing.core.rows import PairRows, TokenRows
from truing.data.batching import optimiser_batches
from truing.data.bootstrap import bootstrap_counts
from truing.evaluation.pair_card import pair_card, wins
from truing.functional import bradley_terry_loss
from truing.models.layout import base_to_train
from truing.models.load import LoadedBase
from truing.models.members import averaged_role, member_roles
from truing.models.metadata import keep_metadata
from truing.models.reward_card import AVERAGED, MEMBER, reward_use
from truing.models.roles import Role
from truing.models.save import merge, outline_classifier, save_normalisation, save_reward_model
from truing.models.scoring import end_scores, forward_in_micro_batches
from truing.rewards.combined import MembersReward
from truing.rewards.sources import RoleReward, refuse_bad
from truing.rollout.episodes import reference_samples
from truing.stages.offline import learn_rows
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import Learner, Trained
from truing.trust.card import findings
from truing.trust.rows import RowsReward, checks_on_rows

LOGGED = ("heldout_accuracy", "heldout_loss")
"""Of what is measured on held-out pairs, on the way"""


def pair_loss(reward: Role, batch: PairBatch, settings: Reward, member: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """−log σ(r(chosen) − r(rejected) − margin), and how often the chosen one scores higher.

    Where pairs count differently for several members, they do as for this one, from 0.
    """
    chosen, rejected = end_scores(reward, batch.chosen), end_scores(reward, batch.rejected)
    margin = batch.margin if settings.use_margin else None
    weights = None if batch.weights is None else batch.weights[:, member]
    loss = bradley_terry_loss(chosen, rejected, margin, settings.label_smoothing, weights)
    return loss, {"accuracy": (chosen > rejected).float().mean().detach()}


def train_reward(job: Job) -> RewardResult:
    """Trains on the preferences, measures the held-out ones, saves `model/` and returns the final metrics.

    Several members learn beside each other, each from a bootstrap sample of the prompts. What is measured is then the
    mean of their scores, and `model/` has the mean of their weights.
    """
    recipe, settings = job.recipe, job.recipe.reward
    by_adapter, budget = recipe.roles == "shared", given(recipe.compute.score_tokens)
    load = partial(base_to_train, job.start, recipe.compute, by_adapter, job.tokens)
    base = load()
    outline_classifier(base.model)  # what could not be saved is refused before it is trained
    pairs = job.preferences()
    closing, ends = job.rows.closing("preferences"), base.endings.tokens
    train, heldout = pairs.train.closed_by(closing, ends), pairs.heldout.closed_by(closing, ends)
    samples = reference_samples(base.role(), job.prompts(), recipe, base)
    members = member_roles(base, load, recipe.lora if by_adapter else None, recipe.seed, _names(settings.members))
    if len(members) > 1:
        train = replace(train, weights=bootstrap_counts(train.chosen.prompts, len(members), recipe.seed))
    plan = optimiser_batches(len(train), given(settings.batch_size), given(settings.epochs), recipe.seed, job.spec.name)
    learner = _learner(members, settings, len(plan), given(recipe.compute.learn_tokens))
    with open_journal(job, learner, len(plan)) as journal:
        learn_rows(
            journal,
            learner,
            train,
            plan,
            losses=[partial(pair_loss, role, settings=settings, member=index) for index, role in enumerate(members)],
            shown=("loss", "accuracy"),
            evaluate=lambda _: _logged(_card(heldout, _scores(members, heldout, budget))),
            every=settings.log_every,
            at_start=False,
        )
        scores = _scores(members, heldout, budget)
        card = _card(heldout, scores)
        reward = _reading_text(job, base, members, budget)
        checks = checks_on_rows(reward, pairs, _means(scores), card, journal.rows, given(settings.epochs))
        made = members[0] if len(members) == 1 else averaged_role(members, load)
        normalisation = Normalisation.measure(_on(samples, _source(made, base, budget)), where="reward model")
    result = RewardResult(
        card=card,
        steps=len(plan),
        train_pairs=len(train),
        score_mean=normalisation.mean,
        score_std=normalisation.std,
        findings=findings(checks),
        checks=checks,
        truncation=pairs.report,
        notes=list(base.notes),
    )
    of_it = result
    if len(members) > 1:
        averaged = _card(heldout, _scores([made], heldout, budget))
        result = replace(result, **_member_metrics(scores), averaged_accuracy=averaged.heldout_accuracy)
        on_samples = [_on(samples, _source(role, base, budget)) for role in members]
        _save_members(job, base, members, on_samples, result, _cards(heldout, scores))
        of_it = replace(result, card=averaged, checks=None)
    about = AVERAGED.format(count=len(members)) if len(members) > 1 else ""
    job.save_model(made, base, partial(_write, job, base, normalisation), of_it, _use(job, base, normalisation, about))
    return result


def _names(count: int) -> list[str]:
    return ["reward", *(f"reward_{number}" for number in range(2, count + 1))]


def _learner(members: Sequence[Role], settings: Reward, steps: int, budget: int) -> Learner:
    """Of all members, each clipped by itself: it is the model that it would be alone."""
    rate = given(settings.optimiser.learning_rate)
    trained = [Trained(name, role, rate) for name, role in zip(_names(len(members)), members, strict=True)]
    return Learner(trained, settings.optimiser, steps, budget, apart=True)


def _source(role: Role, base: LoadedBase, budget: int) -> RoleReward:
    return RoleReward(role, base.tokenizer.pad_token_id, base.endings, budget)


def _reading_text(job: Job, base: LoadedBase, members: Sequence[Role], budget: int) -> RowsReward:
    """The mean of the members' scores, which are log-odds, of rows and of texts."""
    sources = [_source(role, base, budget) for role in members]
    together = MembersReward(sources, [Normalisation()] * len(sources))
    form, chat = base.text_format(job.recipe.data), "preferences" in job.rows.chats
    return RowsReward(together, base.endings, form, base.context, chat)


def _scores(roles: Sequence[Role], pairs: PairRows, budget: int) -> tuple[Tensor, Tensor]:
    """(k, N) of the chosen and of the rejected sides, by each of k roles."""

    def of(role: Role, rows: TokenRows) -> Tensor:
        return forward_in_micro_batches(role, rows, budget, lambda part, _: (end_scores(role, part),))[0]

    chosen, rejected = (torch.stack([of(role, rows) for role in roles]) for rows in (pairs.chosen, pairs.rejected))
    return chosen, rejected


def _means(scores: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """(N,) of both sides, over the members."""
    chosen, rejected = scores
    return chosen.mean(0), rejected.mean(0)


def _card(pairs: PairRows, scores: tuple[Tensor, Tensor]) -> PairCard:
    return pair_card(*_means(scores), pairs.chosen.response_lengths, pairs.rejected.response_lengths)


def _logged(card: PairCard) -> dict[str, Any]:
    measured = to_json(card)
    return {name: measured[name] for name in LOGGED}


def _cards(pairs: PairRows, scores: tuple[Tensor, Tensor]) -> list[PairCard]:
    """Of each member alone."""
    return [_card(pairs, (chosen[None], rejected[None])) for chosen, rejected in zip(*scores, strict=True)]


def _member_metrics(scores: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """How often each member is right, and how often all of them prefer the same side."""
    right = wins(scores[0] - scores[1]).double()
    alike = (right == right[0]).all(0)
    return {"member_accuracies": right.mean(1).tolist(), "member_agreement": float(alike.double().mean())}


def _on(samples: Sequence[Sample], source: RoleReward) -> list[float]:
    scores = source.score(samples)
    refuse_bad(scores, samples, "reward model")
    return scores


def _save_members(
    job: Job,
    base: LoadedBase,
    members: Sequence[Role],
    scores: Sequence[Sequence[float]],
    result: RewardResult,
    cards: Sequence[PairCard],
) -> None:
    """Each of them with what was measured of it alone, and its scores of the SFT model's samples."""
    about = MEMBER.format(count=len(members))
    for number, (role, own, card) in enumerate(zip(members, scores, cards, strict=True), start=1):
        scale = Normalisation.measure(own, where=f"member {number}")
        alone = replace(result, card=card, score_mean=scale.mean, score_std=scale.std, checks=None, findings=None)
        job.save_member(number, role, base, partial(_write, job, base, scale), alone, _use(job, base, scale, about))
    job.save_member_scores(torch.tensor(scores, dtype=torch.float64).T)


def _use(job: Job, base: LoadedBase, normalisation: Normalisation, about: str) -> str:
    return reward_use(base.text_format(job.recipe.data), job.in_messages, normalisation, about)


def _write(job: Job, base: LoadedBase, normalisation: Normalisation, whole: Role, place: Path) -> None:
    """A role that can be merged as a sequence classifier."""
    assert whole.head is not None
    model = merge(whole)
    save_reward_model(model, whole.head, base.tokenizer, place)
    keep_metadata(job.start, model, base.tokenizer, place)
    save_normalisation(normalisation, place)
