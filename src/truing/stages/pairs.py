"""Preferences on their way to a stage: read, split by prompt, encoded. The reward model and DPO learn from the same."""

from dataclasses import dataclass

import torch

from truing.config.sections import Data
from truing.core.batches import PairBatch, Sequences
from truing.core.errors import DataError
from truing.core.records import Preference
from truing.data.encode import encode_preferences
from truing.data.length_report import LengthReport
from truing.data.rows import read_preferences
from truing.data.split import read_split
from truing.models.load import LoadedBase
from truing.training.job import Job


@dataclass(frozen=True)
class Pairs:
    """Pairs to learn from, and pairs under other prompts to measure on."""

    train: PairBatch
    heldout: PairBatch
    places: list[str]
    """Where each of the former stands"""
    truncation: str
    """What became of rows that were too long, in words"""


def load_pairs(job: Job, base: LoadedBase) -> Pairs:
    """The recipe's preferences; DataError if there are none."""
    data = job.recipe.data
    if data.preferences is None:
        raise DataError(f"the {job.name} stage has no preferences.", hint="Set data.preferences.path.")
    sources = data.preferences, data.heldout_preferences
    train, heldout = read_split(read_preferences, *sources, data, job.recipe.seed, "preferences")
    train_batch, places, report = encode_pairs(base, train, data)
    heldout_batch, _, _ = encode_pairs(base, heldout, data)
    job.progress.note(f"{job.name}: {report.sentence()}")
    return Pairs(train_batch, heldout_batch, places, report.sentence())


def encode_pairs(base: LoadedBase, records: list[Preference], data: Data) -> tuple[PairBatch, list[str], LengthReport]:
    """The pairs on the base's device, where each stands, and what became of those that are too long."""
    rows, report = encode_preferences(base.tokenizer, records, data, base.context)
    prompts, pad = [row.prompt for row in rows], base.tokenizer.pad_token_id
    batch = PairBatch(
        Sequences.collate(prompts, [row.chosen for row in rows], pad),
        Sequences.collate(prompts, [row.rejected for row in rows], pad),
        torch.tensor([row.margin or 0.0 for row in rows]),
    )
    return batch.to(base.model.device), [row.where for row in rows], report
