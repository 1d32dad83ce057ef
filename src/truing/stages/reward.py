"""The reward model: a scalar that ranks completions as people did. See docs/algorithms/reward.md."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from truing.config.algorithms import Reward
from truing.config.defaults import given
from truing.core.batches import PairBatch
from truing.core.normalisation import Normalisation
from truing.core.records import Sample
from truing.core.results import RewardResult
from truing.core.rows import PairRows
from truing.data.batching import optimiser_batches
from truing.data.bootstrap import bootstrap_counts
from truing.data.prepared import Split
from truing.functional import bradley_terry_loss
from truing.models.layout import base_to_train
from truing.models.load import LoadedBase
from truing.models.members import averaged_role, member_roles
from truing.models.reward_card import AVERAGED
from truing.models.roles import Role
from truing.models.save import outline_classifier
from truing.models.scoring import end_scores
from truing.rewards.combined import MembersReward
from truing.rewards.sources import RoleReward, refuse_bad
from truing.rollout.episodes import reference_samples
from truing.stages.offline import learn_rows
from truing.stages.reward_files import save_members, use, write
from truing.stages.reward_scores import card_of, logged, means, member_cards, member_metrics, pair_scores
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import Learner, Trained
from truing.trust.card import findings
from truing.trust.rows import RowsReward, checks_on_rows


def pair_loss(reward: Role, batch: PairBatch, settings: Reward, member: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """−log σ(r(chosen) − r(rejected) − margin), and how often the chosen one scores higher.

    With `use_share`, −p·log σ(h) − (1 − p)·log σ(−h), p being the share of people who preferred the chosen side. Where
    pairs count differently for several members, they do as for this one, from 0.
    """
    chosen, rejected = end_scores(reward, batch.chosen), end_scores(reward, batch.rejected)
    margin = batch.margin if settings.use_margin else None
    weights = None if batch.weights is None else batch.weights[:, member]
    flipped = batch.chance_of_flip(settings.use_share, settings.label_smoothing)
    loss = bradley_terry_loss(chosen, rejected, margin, flipped, weights)
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
    train, heldout = _closed(job, base, pairs, settings.members)
    samples = reference_samples(base.role(), job.prompts(), recipe, base, job.environment)
    members = member_roles(base, load, recipe.lora if by_adapter else None, recipe.seed, _names(settings.members))
    plan = optimiser_batches(len(train), given(settings.batch_size), given(settings.epochs), recipe.seed, job.spec.name)
    learner = _learner(members, settings, len(plan), given(recipe.compute.learn_tokens))
    losses = [partial(pair_loss, role, settings=settings, member=index) for index, role in enumerate(members)]
    with open_journal(job, learner, len(plan)) as journal:
        learn_rows(
            journal,
            learner,
            train,
            plan,
            losses,
            shown=("loss", "accuracy"),
            evaluate=lambda _: logged(card_of(heldout, pair_scores(members, heldout, budget))),
            every=settings.log_every,
            at_start=False,
        )
        scores = pair_scores(members, heldout, budget)
        card = card_of(heldout, scores)
        reward = _reading_text(job, base, members, budget)
        checks = checks_on_rows(reward, pairs, means(scores), card, journal.rows, given(settings.epochs))
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
    of_made, about = result, ""
    if len(members) > 1:
        averaged = card_of(heldout, pair_scores([made], heldout, budget))
        result = replace(result, **member_metrics(scores), averaged_accuracy=averaged.heldout_accuracy)
        on_samples = [_on(samples, _source(role, base, budget)) for role in members]
        save_members(job, base, members, on_samples, result, member_cards(heldout, scores))
        of_made, about = replace(result, card=averaged, checks=None), AVERAGED.format(count=len(members))
    job.save_model(made, base, partial(write, job, base, normalisation), of_made, use(job, base, normalisation, about))
    return result


def _closed(job: Job, base: LoadedBase, pairs: Split[PairRows], members: int) -> tuple[PairRows, PairRows]:
    """The rows that are learnt from and those held out, each response ended as the reward model reads it.

    For each of several members, the former count as often as its bootstrap sample has their prompts.
    """
    closing, ends = job.rows.closing("preferences"), base.endings.tokens
    train, heldout = pairs.train.closed_by(closing, ends), pairs.heldout.closed_by(closing, ends)
    if members > 1:
        train = replace(train, weights=bootstrap_counts(train.chosen.prompts, members, job.recipe.seed))
    return train, heldout


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


def _on(samples: Sequence[Sample], source: RoleReward) -> list[float]:
    scores = source.score(samples)
    refuse_bad(scores, samples, "reward model")
    return scores
