"""Supervised fine-tuning: the policy learns to say the demonstrations' completions. See docs/algorithms/sft.md."""

import math

import torch
from torch import Tensor

from truing.config.defaults import given
from truing.core.batches import Sequences
from truing.core.results import SftResult
from truing.core.rows import TokenRows
from truing.data.batching import optimiser_batches
from truing.data.prepared import Split
from truing.evaluation.learning import demonstration_findings
from truing.functional import masked_mean
from truing.models.layout import base_to_train, trained_role
from truing.models.roles import Role
from truing.models.scoring import forward_in_micro_batches, response_logprobs
from truing.stages.offline import learn_rows
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import Learner, Trained


def completion_loss(policy: Role, batch: Sequences) -> tuple[Tensor, dict[str, Tensor]]:
    """−mean log π(token) over completion tokens; prompt and padding do not count."""
    return -masked_mean(response_logprobs(policy, batch), batch.response_mask), {}


def train_sft(job: Job) -> SftResult:
    """Trains on rows of what to say, saves `model/` and returns the result."""
    recipe, settings = job.recipe, job.recipe.sft
    by_adapter = settings.method == "lora"
    base = base_to_train(job.start, recipe.compute, by_adapter, job.tokens)
    rows = rows_to_say(job)
    policy = trained_role(base, "policy", recipe.lora if by_adapter else None, recipe.seed)
    plan = optimiser_batches(
        len(rows.train), given(settings.batch_size), given(settings.epochs), recipe.seed, job.spec.name
    )
    trained = Trained("policy", policy, given(settings.optimiser.learning_rate))
    learner = Learner([trained], settings.optimiser, len(plan), given(recipe.compute.learn_tokens))
    with open_journal(job, learner, len(plan)) as journal:
        learn_rows(
            journal,
            learner,
            rows.train,
            plan,
            losses=[lambda batch: completion_loss(policy, batch)],
            shown=("loss", "heldout_loss"),
            evaluate=lambda _: {"heldout_loss": heldout_loss(policy, rows.heldout, given(recipe.compute.score_tokens))},
            every=settings.log_every,
            count_as="tokens",
        )
    before, after = journal.rows[0]["heldout_loss"], journal.latest("heldout_loss")
    result = SftResult(
        steps=len(plan),
        train_rows=len(rows.train),
        heldout_rows=len(rows.heldout),
        heldout_tokens=rows.heldout.count,
        heldout_loss_before=before,
        heldout_loss=after,
        heldout_perplexity=math.exp(after),
        truncation=rows.report,
        notes=list(base.notes),
        findings=demonstration_findings(before, after, job.spec.name),
    )
    job.save_policy(policy, base, result)
    return result


def rows_to_say(job: Job) -> Split[TokenRows]:
    """The demonstrations; or the chosen sides of the preferences, split as these are for those that learn from both."""
    if job.recipe.sft.data == "demonstrations":
        return job.demonstrations()
    pairs = job.preferences()
    return Split(pairs.train.chosen, pairs.heldout.chosen, pairs.report)


@torch.no_grad()
def heldout_loss(policy: Role, heldout: TokenRows, token_budget: int) -> float:
    """−mean log π(token) over all held-out completion tokens, nats."""

    def logprobs_and_mask(rows: Sequences, _: object) -> tuple[Tensor, Tensor]:
        return response_logprobs(policy, rows), rows.response_mask

    logprobs, mask = forward_in_micro_batches(policy, heldout, token_budget, logprobs_and_mask)
    return -float(masked_mean(logprobs, mask))
