"""The reward model: a scalar that ranks completions as people did. See docs/algorithms/reward.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from truing.config.algorithms import Reward
from truing.config.defaults import given
from truing.core.batches import PairBatch
from truing.core.normalisation import Normalisation
from truing.core.records import Sample
from truing.core.results import PairCard, RewardResult, to_json
from truing.core.rows import PairRows, TokenRows
from truing.data.batching import optimiser_batches
from truing.evaluation.pair_card import pair_card
from truing.functional import bradley_terry_loss
from truing.models.layout import base_to_train, trained_role
from truing.models.load import LoadedBase
from truing.models.metadata import keep_metadata
from truing.models.reward_card import reward_use
from truing.models.roles import Role
from truing.models.save import merge, outline_classifier, save_normalisation, save_reward_model
from truing.models.scoring import end_scores, forward_in_micro_batches
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


def pair_loss(reward: Role, batch: PairBatch, settings: Reward) -> tuple[Tensor, dict[str, Tensor]]:
    """−log σ(r(chosen) − r(rejected) − margin), and how often the chosen one scores higher."""
    chosen, rejected = end_scores(reward, batch.chosen), end_scores(reward, batch.rejected)
    margin = batch.margin if settings.use_margin else None
    loss = bradley_terry_loss(chosen, rejected, margin=margin, label_smoothing=settings.label_smoothing)
    return loss, {"accuracy": (chosen > rejected).float().mean().detach()}


def train_reward(job: Job) -> RewardResult:
    """Trains on the preferences, measures the held-out ones, saves `model/` and returns the final metrics."""
    recipe, settings = job.recipe, job.recipe.reward
    by_adapter = recipe.roles == "shared"
    base = base_to_train(job.start, recipe.compute, by_adapter, job.tokens)
    outline_classifier(base.model)  # what could not be saved is refused before it is trained
    pairs = job.preferences()
    closing, ends = job.rows.closing("preferences"), base.endings.tokens
    train, heldout = pairs.train.closed_by(closing, ends), pairs.heldout.closed_by(closing, ends)
    samples = reference_samples(base.role(), job.prompts(), recipe, base)
    reward = trained_role(base, "reward", recipe.lora if by_adapter else None, recipe.seed, head=True)
    plan = optimiser_batches(len(train), given(settings.batch_size), given(settings.epochs), recipe.seed, job.spec.name)
    trained = Trained("reward", reward, given(settings.optimiser.learning_rate))
    learner = Learner([trained], settings.optimiser, len(plan), given(recipe.compute.learn_tokens))
    with open_journal(job, learner, len(plan)) as journal:

        def evaluate(_: int) -> dict[str, Any]:
            now = to_json(_card(heldout, _scores(reward, heldout, given(recipe.compute.score_tokens))))
            return {name: now[name] for name in LOGGED}

        learn_rows(
            journal,
            learner,
            train,
            plan,
            loss=lambda batch: pair_loss(reward, batch, settings),
            shown=("loss", "accuracy"),
            evaluate=evaluate,
            every=settings.log_every,
            at_start=False,
        )
        source = RoleReward(reward, base.tokenizer.pad_token_id, base.endings, given(recipe.compute.score_tokens))
        scores = _scores(reward, heldout, given(recipe.compute.score_tokens))
        card = _card(heldout, scores)
        as_text = RowsReward(source, base.text_format(recipe.data), base.context, "preferences" in job.rows.chats)
        checks = checks_on_rows(as_text, pairs, scores, card, journal.rows, given(settings.epochs))
        normalisation = _normalisation(source, samples)
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
    _save(job, base, reward, normalisation, result)
    return result


def _scores(reward: Role, pairs: PairRows, token_budget: int) -> tuple[Tensor, Tensor]:
    """(N,) of the chosen and of the rejected sides."""

    def of(rows: TokenRows) -> Tensor:
        return forward_in_micro_batches(reward, rows, token_budget, lambda part, _: (end_scores(reward, part),))[0]

    return of(pairs.chosen), of(pairs.rejected)


def _card(pairs: PairRows, scores: tuple[Tensor, Tensor]) -> PairCard:
    return pair_card(*scores, pairs.chosen.response_lengths, pairs.rejected.response_lengths)


def _normalisation(source: RoleReward, samples: Sequence[Sample]) -> Normalisation:
    scores = source.score(samples)
    refuse_bad(scores, samples, "reward model")
    return Normalisation.measure(scores, where="reward model")


def _save(job: Job, base: LoadedBase, reward: Role, normalisation: Normalisation, result: RewardResult) -> None:
    def write(whole: Role, place: Path) -> None:
        assert whole.head is not None
        model = merge(whole)
        save_reward_model(model, whole.head, base.tokenizer, place)
        keep_metadata(job.start, model, base.tokenizer, place)
        save_normalisation(normalisation, place)

    use = reward_use(base.text_format(job.recipe.data), job.in_messages, normalisation)
    job.save_model(reward, base, write, result, use)
