"""The recipe's own rows, cut down to those of the heaviest step of each stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import fmean

from truing.config.recipe import Recipe
from truing.config.stages import STAGES
from truing.data.batching import optimiser_batches
from truing.data.datasets import HELDOUT, learnt_datasets
from truing.data.encode import EncodedRow
from truing.data.prepared import Prepared
from truing.estimate.shortened import PROMPTS, prompts_of_step, rows_of_step


@dataclass(frozen=True)
class HeaviestRows:
    """Rows for a dry run."""

    rows: Prepared
    typical: dict[str, float]
    """Tokens of the average row as a share of those of the average row that was chosen, by stage"""
    counts: dict[str, int]
    """Rows to learn from, by stage"""

    def tokens_of_text(self, recipe: Recipe, stage: str) -> int:
        """Of an average text that a stage reads: a prompt and one completion, or a response as long as may be."""
        names = STAGES[stage].datasets_of(recipe)
        rows = [row for name in names or ("prompts",) for row in self.rows.rows[name]]
        if not names:
            return ceil(fmean(len(row.prompt) for row in rows)) + recipe.longest_response
        return ceil(fmean(len(row.prompt) + len(text) for row in rows for text in row.completions.values()))


def heaviest_rows(recipe: Recipe, prepared: Prepared) -> HeaviestRows:
    """Those of the heaviest steps of the recipe's stages.

    Raises:
        DataError: a stage has no rows, or they cannot be used.
    """
    chosen: dict[str, list[EncodedRow]] = {}
    typical: dict[str, float] = {}
    counts: dict[str, int] = {}
    for name in dict.fromkeys(name for stage in recipe.stages for name in STAGES[stage].datasets_of(recipe)):
        stages = [stage for stage in recipe.stages if name in STAGES[stage].datasets_of(recipe)]
        size = max(rows_of_step(recipe, stage) for stage in stages)
        for part, rows in zip((name, HELDOUT + name), prepared.split(name, recipe), strict=True):
            fitted, _ = prepared.fit(name, rows, recipe)
            chosen[part] = _heaviest_of(fitted, size, recipe.seed)
            if part == name:
                counts |= dict.fromkeys(stages, len(fitted))
                share = fmean(map(_tokens, fitted)) / fmean(map(_tokens, chosen[part]))
                typical |= dict.fromkeys(stages, share)
    if any(STAGES[stage].samples for stage in recipe.stages):
        fitted, _ = prepared.fit("prompts", prepared.rows_of("prompts"), recipe)
        chosen["prompts"] = _heaviest_of(fitted, prompts_of_step(recipe), recipe.seed)
    return HeaviestRows(replace(prepared, rows=chosen), typical, counts)


def shortest_rows(recipe: Recipe, prepared: Prepared) -> Prepared:
    """A row of each dataset to learn from, one to hold out, and prompts of which one is held out.

    Of ratings there is one with each label.

    Raises:
        DataError: a stage has no rows, or they cannot be used.
    """
    chosen: dict[str, list[EncodedRow]] = {}
    for name in learnt_datasets(recipe):
        for part, rows in zip((name, HELDOUT + name), prepared.split(name, recipe), strict=True):
            fitted, _ = prepared.fit(name, rows, recipe)
            chosen[part] = [row for own in _by_label(fitted) for row in _shortest_of(own, 1)]
    if any(STAGES[stage].samples for stage in recipe.stages):
        learnt_from = {row.prompt for rows in chosen.values() for row in rows}
        fitted, _ = prepared.fit("prompts", prepared.rows_of("prompts"), recipe)
        others = [row for row in fitted if row.prompt not in learnt_from]
        chosen["prompts"] = _shortest_of(others if len(others) >= PROMPTS else fitted, PROMPTS)
    return replace(prepared, rows=chosen)


def heaviest(lengths: Sequence[int], size: int, seed: int) -> list[int]:
    """Indices of the rows with the most tokens of those that random order puts into a batch, and of the longest row."""
    batches = optimiser_batches(len(lengths), size, 1, seed, "estimate")
    batch = max(batches, key=lambda rows: sum(lengths[row] for row in rows))
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    return batch if longest in batch else [longest, *batch[1:]]


def _heaviest_of(rows: Sequence[EncodedRow], size: int, seed: int) -> list[EncodedRow]:
    """With one of each label, without which ratings are refused."""
    chosen = [rows[row] for row in heaviest(list(map(_tokens, rows)), size, seed)]
    there = {row.label for row in chosen}
    return [*chosen, *(max(own, key=_tokens) for own in _by_label(rows) if own[0].label not in there)]


def _by_label(rows: Sequence[EncodedRow]) -> list[list[EncodedRow]]:
    """The rows of each label that there is; rows without any have the same."""
    found = ([row for row in rows if row.label is label] for label in (True, False))
    return [own for own in found if own]


def _shortest_of(rows: Sequence[EncodedRow], count: int) -> list[EncodedRow]:
    return sorted(rows, key=_tokens)[:count]


def _tokens(row: EncodedRow) -> int:
    return len(row.prompt) + sum(map(len, row.completions.values()))
