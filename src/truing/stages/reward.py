"""The reward model: a scalar that ranks completions as people did. See docs/algorithms/reward.md."""

from collections.abc import Sequence

from torch import Tensor

from truing.config.algorithms import Reward
from truing.core.batches import PairBatch
from truing.core.normalisation import Normalisation
from truing.core.records import Sample
from truing.core.results import PairCard, RewardResult
from truing.core.rows import PairRows, TokenRows
from truing.data.batching import optimiser_batches
from truing.evaluation.report_card import reward_report_card
from truing.functional import bradley_terry_loss
from truing.models.layout import trained_role
from truing.models.load import LoadedBase, load_base
from truing.models.metadata import keep_metadata
from truing.models.roles import Role
from truing.models.save import merge, outline_classifier, save_normalisation, save_reward_model
from truing.models.scoring import end_scores, forward_in_micro_batches
from truing.rewards.sources import RoleReward, refuse_bad
from truing.rollout.episodes import reference_samples
from truing.stages.offline import learn_rows
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import Learner, Trained


def pair_loss(reward: Role, batch: PairBatch, settings: Reward) -> tuple[Tensor, dict[str, Tensor]]:
    """−log σ(r(chosen) − r(rejected) − margin), and how often the chosen one scores higher."""
    chosen, rejected = end_scores(reward, batch.chosen), end_scores(reward, batch.rejected)
    margin = batch.margin if settings.use_margin else None
    loss = bradley_terry_loss(chosen, rejected, margin=margin, label_smoothing=settings.label_smoothing)
    return loss, {"accuracy": (chosen > rejected).float().mean().detach()}


def train_reward(job: Job) -> RewardResult:
    """Trains on the preferences, measures the held-out ones, saves `model/` and returns the final metrics."""
    recipe, settings = job.recipe, job.recipe.reward
    base = load_base(job.start, recipe.compute, trains=recipe.roles == "separate")
    outline_classifier(base.model)  # what could not be saved is refused before it is trained
    pairs = job.preferences()
    closing, ends = job.rows.closing("preferences"), base.endings.tokens
    train, heldout = pairs.train.closed_by(closing, ends), pairs.heldout.closed_by(closing, ends)
    samples = reference_samples(base.role(), job.prompts(), recipe, base)
    reward = trained_role(base, "reward", recipe.lora if recipe.roles == "shared" else None, recipe.seed, head=True)
    plan = optimiser_batches(len(train), settings.batch_size, settings.epochs, recipe.seed, job.spec.name)
    trained = Trained("reward", reward, settings.optimiser.learning_rate)
    learner = Learner([trained], settings.optimiser, len(plan), recipe.compute.learn_tokens)
    with open_journal(job, learner, len(plan)) as journal:
        learn_rows(
            journal,
            learner,
            train,
            plan,
            loss=lambda batch: pair_loss(reward, batch, settings),
            shown=("loss", "accuracy"),
        )
        card = _report_card(reward, heldout, recipe.compute.score_tokens)
        normalisation = _normalisation(job, base, reward, samples)
    _save(job, base, reward, normalisation)
    return RewardResult(
        card=card,
        steps=len(plan),
        train_pairs=len(train),
        score_mean=normalisation.mean,
        score_std=normalisation.std,
        truncation=pairs.report,
        notes=list(base.notes),
    )


def _report_card(reward: Role, heldout: PairRows, token_budget: int) -> PairCard:
    def scores(rows: TokenRows) -> Tensor:
        return forward_in_micro_batches(reward, rows, token_budget, lambda part, _: (end_scores(reward, part),))[0]

    return reward_report_card(
        scores(heldout.chosen),
        scores(heldout.rejected),
        heldout.chosen.response_lengths,
        heldout.rejected.response_lengths,
    )


def _normalisation(job: Job, base: LoadedBase, reward: Role, samples: Sequence[Sample]) -> Normalisation:
    source = RoleReward(reward, base.tokenizer.pad_token_id, base.endings, job.recipe.compute.score_tokens)
    scores = source.score(samples)
    refuse_bad(scores, samples, "reward model")
    return Normalisation.measure(scores, where="reward model")


def _save(job: Job, base: LoadedBase, reward: Role, normalisation: Normalisation) -> None:
    job.save_role_adapter(reward)
    assert reward.head is not None
    with job.saved(job.directory.model) as place:
        job.rows.keep_template(base.tokenizer)
        model = merge(job.whole(reward))
        save_reward_model(model, reward.head, base.tokenizer, place)
        keep_metadata(job.start, model, base.tokenizer, place)
        save_normalisation(normalisation, place)
