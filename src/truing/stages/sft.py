"""Supervised fine-tuning: the policy learns to say the demonstrations' completions. See docs/algorithms/sft.md."""

import math
from typing import Any

import torch
from torch import Tensor

from truing.core.batches import Sequences
from truing.core.errors import DataError
from truing.core.records import Demonstration
from truing.data.batching import optimiser_batches
from truing.data.encode import encode_demonstrations
from truing.data.length_report import LengthReport
from truing.data.rows import read_demonstrations
from truing.data.split import read_split
from truing.functional import masked_mean
from truing.models.layout import trained_role
from truing.models.load import LoadedBase, load_base
from truing.models.roles import Role
from truing.models.scoring import forward_in_micro_batches, response_logprobs
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import role_learner


def completion_loss(policy: Role, batch: Sequences) -> tuple[Tensor, dict[str, Tensor]]:
    """−mean log π(token) over completion tokens; prompt and padding do not count."""
    return -masked_mean(response_logprobs(policy, batch), batch.response_mask), {}


def train_sft(job: Job) -> dict[str, Any]:
    """Trains on the demonstrations and saves `model/`; returns the closing figures."""
    settings, compute = job.recipe.sft, job.recipe.compute
    base = load_base(job.start, compute, trains=settings.method == "full")
    train, heldout, places, truncation = _load_demonstrations(job, base)
    policy = trained_role(base, "policy", job.recipe.lora if settings.method == "lora" else None, job.recipe.seed)
    batches = optimiser_batches(len(train), settings.batch_size, settings.epochs, job.recipe.seed, "sft")
    learner = role_learner(policy, settings.optimiser, len(batches), compute)
    with open_journal(job, learner, len(batches)) as journal:
        if not journal.rows:
            journal.log(0, {"heldout_loss": heldout_loss(policy, heldout, compute.score_tokens)})
        for step in journal.remaining(len(batches)):
            batch, names = train.rows(batches[step - 1]), [places[row] for row in batches[step - 1]]
            figures = learner.train_step(batch, lambda micro: completion_loss(policy, micro), names)
            figures["tokens"] = batch.count
            if step % settings.log_every == 0 or step == len(batches):
                figures["heldout_loss"] = heldout_loss(policy, heldout, compute.score_tokens)
            journal.log(step, figures, shown=("loss", "heldout_loss"))
            journal.done(step)
    job.save_policy(policy, base)
    return {
        "steps": len(batches),
        "train_rows": len(train),
        "heldout_rows": len(heldout),
        "heldout_tokens": heldout.count,
        "heldout_loss_before": journal.rows[0]["heldout_loss"],
        "heldout_loss": journal.latest("heldout_loss"),
        "heldout_perplexity": math.exp(journal.latest("heldout_loss")),
        "truncation": truncation,
        "notes": list(base.notes),
    }


@torch.no_grad()
def heldout_loss(policy: Role, heldout: Sequences, token_budget: int) -> float:
    """−mean log π(token) over all held-out completion tokens, nats."""
    (logprobs,) = forward_in_micro_batches(
        policy, heldout, token_budget, lambda rows, _: (response_logprobs(policy, rows),)
    )
    return -float(masked_mean(logprobs, heldout.response_mask))


def _load_demonstrations(job: Job, base: LoadedBase) -> tuple[Sequences, Sequences, list[str], str]:
    """Rows to learn from, rows held out, where each of the first stands, and what became of those too long."""
    data = job.recipe.data
    if data.demonstrations is None:
        raise DataError("the sft stage has no demonstrations.", hint="Set data.demonstrations.path.")
    sources = data.demonstrations, data.heldout_demonstrations
    train, heldout = read_split(read_demonstrations, *sources, data, job.recipe.seed, "demonstrations")
    (train_batch, places, report), (heldout_batch, _, _) = _encode(job, base, train), _encode(job, base, heldout)
    job.progress.note(f"sft: {report.sentence()}")
    return train_batch, heldout_batch, places, report.sentence()


def _encode(job: Job, base: LoadedBase, records: list[Demonstration]) -> tuple[Sequences, list[str], LengthReport]:
    rows, report = encode_demonstrations(base.tokenizer, records, job.recipe.data, base.context)
    batch = Sequences.collate([r.prompt for r in rows], [r.completion for r in rows], base.tokenizer.pad_token_id)
    return batch.to(base.model.device), [row.where for row in rows], report
