"""Supervised fine-tuning: the policy learns to say the demonstrations' completions. See docs/algorithms/sft.md."""

import math
from typing import Any

import torch
from torch import Tensor

from truing.data.batches import optimiser_batches
from truing.data.chat import Encoded
from truing.data.encode import encode_demonstrations
from truing.data.rows import read_demonstrations
from truing.data.split import split_by_prompt
from truing.errors import DataError
from truing.experience import Sequences
from truing.functional import masked_mean
from truing.models.base import LoadedBase, load_base
from truing.models.layout import trained_role
from truing.models.roles import Role
from truing.models.scoring import in_parts, response_logprobs
from truing.records import Demonstration
from truing.runs.metrics import JsonLines
from truing.stages.job import Job
from truing.stages.loop import role_learner


def completion_loss(policy: Role, batch: Sequences) -> tuple[Tensor, dict[str, Tensor]]:
    """−mean log π(token) over completion tokens; prompt and padding do not count."""
    return -masked_mean(response_logprobs(policy, batch), batch.response_mask), {}


def train_sft(job: Job) -> dict[str, Any]:
    """Trains on the demonstrations and saves `model/`; returns the closing figures."""
    settings, compute = job.recipe.sft, job.recipe.compute
    base = load_base(job.start, compute)
    train, heldout, truncation = _load_demonstrations(job, base)
    policy = trained_role(base, "policy", job.recipe.lora if settings.method == "lora" else None, job.recipe.seed)
    batches = optimiser_batches(len(train), settings.batch_size, settings.epochs, job.recipe.seed, "sft")
    learner = role_learner(policy, settings.optimiser, len(batches), compute)
    before = heldout_loss(policy, heldout, compute.score_tokens)
    after = before
    with JsonLines(job.directory.metrics) as metrics, job.progress.stage(job.name, len(batches)) as bar:
        job.log(metrics, 0, {"heldout_loss": before})
        for step, index in enumerate(batches, start=1):
            batch = train.rows(index)
            figures = learner.train_step(batch, lambda micro: completion_loss(policy, micro))
            figures["tokens"] = batch.count
            if step % settings.log_every == 0 or step == len(batches):
                after = heldout_loss(policy, heldout, compute.score_tokens)
                figures["heldout_loss"] = after
            job.log(metrics, step, figures)
            bar.advance(step, {"loss": figures["loss"], "heldout_loss": after})
    job.save_policy(policy, base)
    return {
        "steps": len(batches),
        "train_rows": len(train),
        "heldout_rows": len(heldout),
        "heldout_tokens": heldout.count,
        "heldout_loss_before": before,
        "heldout_loss": after,
        "heldout_perplexity": math.exp(after),
        "truncation": truncation,
        "notes": list(base.notes),
    }


@torch.no_grad()
def heldout_loss(policy: Role, heldout: Sequences, token_budget: int) -> float:
    """−mean log π(token) over all held-out completion tokens, nats."""
    (logprobs,) = in_parts(heldout, token_budget, lambda rows, _: (response_logprobs(policy, rows),))
    return -float(masked_mean(logprobs, heldout.response_mask))


def _load_demonstrations(job: Job, base: LoadedBase) -> tuple[Sequences, Sequences, str]:
    data = job.recipe.data
    if data.demonstrations is None:
        raise DataError("the sft stage has no demonstrations.", mend="Set data.demonstrations.path.")
    records = read_demonstrations(data.demonstrations, data.transcripts)
    if data.heldout_demonstrations is None:
        train, heldout = split_by_prompt(records, data.heldout, job.recipe.seed, "demonstrations")
    else:
        train, heldout = records, read_demonstrations(data.heldout_demonstrations, data.transcripts)
    (train_batch, report), (heldout_batch, _) = _encode(job, base, train), _encode(job, base, heldout)
    job.progress.note(f"sft: {report.sentence()}")
    return train_batch, heldout_batch, report.sentence()


def _encode(job: Job, base: LoadedBase, records: list[Demonstration]) -> tuple[Sequences, Any]:
    rows: list[Encoded]
    rows, report = encode_demonstrations(base.tokenizer, records, job.recipe.data, base.context)
    batch = Sequences.collate([r.prompt for r in rows], [r.completion for r in rows], base.tokenizer.pad_token_id)
    return batch.to(base.model.device), report
