"""What a recipe asks a model to do: how many sequences of which lengths, in each step of each stage.

A response that is still to be sampled is held in memory as long as it may become, and takes time as long as those are
that the policy has been shown.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import fmean

from truing.config.recipe import Recipe
from truing.data.batching import optimiser_batches, plan_by_tokens
from truing.doctor.lengths import STEPS_PLANNED, Lengths, Row
from truing.doctor.passes import Shape

Micro = list[Shape]
"""A micro-batch: a shape, or the two shapes of pairs"""
Batch = Sequence[Row]


@dataclass(frozen=True)
class Steps:
    """The optimiser steps of a stage."""

    largest: Micro
    """The micro-batch with the most tokens"""
    typical: Micro
    """The average one"""
    parts: float
    """Micro-batches of a step, on average"""
    repeated: bool
    """Whether some step has several micro-batches"""
    row_counts: frozenset[int]
    """Different numbers of tokens that meet the weights at once"""


@dataclass(frozen=True)
class Episodes:
    """What is sampled side by side, and in a round."""

    longest: int
    """Tokens of the longest prompt"""
    padded: int
    """Tokens that prompts side by side are padded to, on average"""
    new_tokens: int
    """Of each response, at most"""
    rows: int
    """Sampled side by side"""
    count: int
    """Responses that are kept together"""
    going: list[float]
    """Share of the rows that draw a token, at each step"""

    @property
    def length(self) -> int:
        """Tokens of the longest prompt and response."""
        return self.longest + self.new_tokens


def sft_steps(lengths: Lengths, recipe: Recipe) -> Steps:
    """The steps of the sft stage."""
    return _stage_steps(lengths, lengths.demonstrations, recipe, recipe.sft.batch_size, recipe.sft.epochs, "sft")


def pair_steps(lengths: Lengths, recipe: Recipe, kind: str) -> Steps:
    """The steps of the reward or the dpo stage."""
    settings = recipe.dpo if kind == "dpo" else recipe.reward
    return _stage_steps(lengths, lengths.preferences, recipe, settings.batch_size, settings.epochs, kind)


def ppo_steps(lengths: Lengths, recipe: Recipe) -> Steps:
    """The steps of the ppo stage, each a minibatch of responses."""
    return _rounds(lengths, recipe, recipe.ppo.episodes // recipe.ppo.minibatches, recipe.compute.learn_tokens)


def scoring(lengths: Lengths, recipe: Recipe) -> Steps:
    """The rounds of scoring of the ppo stage."""
    return _rounds(lengths, recipe, recipe.ppo.episodes, recipe.compute.score_tokens)


def sampled(lengths: Lengths, recipe: Recipe, count: int) -> Episodes:
    """So many responses at once, to the longest of the prompts."""
    rows, most = min(count, recipe.compute.rollout_rows), recipe.rollout.max_new_tokens
    longest = max(lengths.prompts[: max(count, STEPS_PLANNED)])
    said = _said(lengths, recipe)
    going = [fmean(length > step for length in said) for step in range(most)]
    return Episodes(longest, _padded(lengths.prompts, count, rows), most, rows, count, going)


def _padded(prompts: Sequence[int], count: int, rows: int) -> int:
    """Tokens of the longest of `rows` prompts that are read side by side, those of a round by length; on average."""
    rounds = [sorted(prompts[start : start + count]) for start in range(0, len(prompts), count)]
    groups = [lengths[start : start + rows] for lengths in rounds for start in range(0, len(lengths), rows)]
    return round(fmean(map(max, groups)))


def _said(lengths: Lengths, recipe: Recipe) -> list[int]:
    """Tokens that responses will have, as far as can be told."""
    most = recipe.rollout.max_new_tokens
    return [min(length, most) for length in lengths.responses] or [most]


def _rounds(lengths: Lengths, recipe: Recipe, size: int, budget: int) -> Steps:
    most = [((prompt, recipe.rollout.max_new_tokens),) for prompt in lengths.prompts]
    said = [((prompt, length),) for prompt, length in zip(lengths.prompts, cycle(_said(lengths, recipe)), strict=False)]
    longest, typical = (
        _steps((rows[start : start + size] for start in range(0, len(rows), size)), budget, lengths.padded)
        for rows in (most, said)
    )
    return Steps(longest.largest, typical.typical, typical.parts, longest.repeated, longest.row_counts)


def _stage_steps(lengths: Lengths, rows: Sequence[Row], recipe: Recipe, size: int, epochs: int, purpose: str) -> Steps:
    plan = optimiser_batches(len(rows), size, epochs, recipe.seed, purpose)
    return _steps(([rows[index] for index in batch] for batch in plan), recipe.compute.learn_tokens, lengths.padded)


def _steps(batches: Iterator[Batch], budget: int, padded: bool) -> Steps:
    plans = [micro_batches(batch, budget, padded) for batch in islice(batches, STEPS_PLANNED)]
    micros = [micro for plan in plans for micro in plan]
    return Steps(
        largest=max(micros, key=lambda micro: sum(shape.area for shape in micro)),
        typical=[_average(shapes) for shapes in zip(*micros, strict=True)],
        parts=len(micros) / len(plans),
        repeated=any(len(plan) > 1 for plan in plans),
        row_counts=frozenset(shape.area for micro in micros for shape in micro),
    )


def _average(shapes: Sequence[Shape]) -> Shape:
    """One that has as many tokens as these have on average, padding included."""
    rows = max(1, round(fmean(shape.rows for shape in shapes)))
    area = fmean(shape.area for shape in shapes)
    joined = None if shapes[0].joined is None else max(rows, round(area))
    return Shape(rows, max(1, round(area / rows)), round(fmean(shape.counted for shape in shapes)), joined)


def micro_batches(rows: Batch, budget: int, padded: bool = True) -> list[Micro]:
    """One batch as the learner takes it apart."""
    totals = [sum(prompt + response for prompt, response in row) for row in rows]
    parts = plan_by_tokens(totals, budget, padded)
    return [_shapes([rows[index] for index in part], padded) for part in parts]


def _shapes(rows: Batch, padded: bool) -> Micro:
    """As rectangles, or laid end to end."""
    length: Callable[[tuple[int, int]], int] = sum
    return [
        Shape(
            rows=len(side),
            length=max(map(length, side)),
            counted=sum(response for _, response in side),
            joined=None if padded else sum(map(length, side)),
        )
        for side in zip(*rows, strict=True)
    ]
