"""What a recipe asks a model to do: how many sequences of which lengths, in each step of each stage.

Lengths are those of the recipe's own rows in the recipe's own order; a response that is still to be sampled counts as
long as it may become.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from truing.data.batches import optimiser_batches, plan_by_tokens
from truing.data.encode import encode_demonstrations, encode_preferences
from truing.data.rows import read_demonstrations, read_preferences
from truing.data.split import read_split
from truing.doctor.shadow import Shape
from truing.errors import DataError
from truing.models.base import LoadedBase
from truing.recipe import Recipe
from truing.runs.progress import SilentProgress
from truing.stages.episodes import load_prompts

LOOKED_AT = 400
"""Steps of a stage whose batches are planned; more of them look the same"""

Row = tuple[tuple[int, int], ...]
"""(prompt, response) tokens of each sequence in a row: one, or the two of a pair"""
Micro = list[Shape]
"""A micro-batch: a shape, or the two shapes of pairs"""


@dataclass(frozen=True)
class Steps:
    """The optimiser steps of a stage."""

    count: int
    """How many there are"""
    largest: Micro
    """The micro-batch with the most tokens"""
    area: float
    """Tokens of a step, padding included, on average"""
    repeated: bool
    """Whether some step has several micro-batches"""
    row_counts: frozenset[int]
    """Different numbers of tokens that meet the weights at once"""

    @property
    def share(self) -> float:
        """A step's work as a multiple of the largest micro-batch's."""
        return self.area / area(self.largest)


@dataclass(frozen=True)
class Episodes:
    """What is sampled side by side, and in a round."""

    prompts: list[int]
    """Tokens of the prompts"""
    new_tokens: int
    """Of each response, at most"""
    rows: int
    """Sampled side by side"""
    count: int
    """Responses that are kept together"""

    @property
    def length(self) -> int:
        """Tokens of the longest prompt and response."""
        return max(self.prompts) + self.new_tokens


def area(micro: Micro) -> int:
    """Tokens, padding included."""
    return sum(shape.area for shape in micro)


@dataclass(frozen=True)
class Lengths:
    """Tokens of a recipe's rows, whatever is then done with them."""

    demonstrations: list[Row]
    preferences: list[Row]
    prompts: list[int]
    """In the order in which PPO answers them"""


def read_lengths(recipe: Recipe, base: LoadedBase) -> Lengths:
    """Reads and encodes the rows that the recipe's stages learn from.

    Raises:
        DataError: they cannot be used.
    """
    stages = set(recipe.stages)
    return Lengths(
        _demonstrations(recipe, base) if "sft" in stages else [],
        _preferences(recipe, base) if stages & {"reward", "dpo"} else [],
        _prompts(recipe, base) if stages != {"sft"} else [],
    )


def sft_steps(lengths: Lengths, recipe: Recipe) -> Steps:
    """The steps of the sft stage."""
    return _stage_steps(lengths.demonstrations, recipe, recipe.sft.batch_size, recipe.sft.epochs, "sft")


def pair_steps(lengths: Lengths, recipe: Recipe, kind: str) -> Steps:
    """The steps of the reward or the dpo stage."""
    settings = recipe.dpo if kind == "dpo" else recipe.reward
    return _stage_steps(lengths.preferences, recipe, settings.batch_size, settings.epochs, kind)


def ppo_steps(lengths: Lengths, recipe: Recipe) -> Steps:
    """The steps of the ppo stage, each a minibatch of responses."""
    settings = recipe.ppo
    size = settings.episodes // settings.minibatches
    rows = _episodes(lengths, recipe)
    batches = (rows[start : start + size] for start in range(0, len(rows), size))
    return _steps(batches, settings.updates * settings.epochs * settings.minibatches, recipe.compute.learn_tokens)


def scoring(lengths: Lengths, recipe: Recipe) -> Steps:
    """The rounds of scoring of the ppo stage."""
    size, rows = recipe.ppo.episodes, _episodes(lengths, recipe)
    batches = (rows[start : start + size] for start in range(0, len(rows), size))
    return _steps(batches, recipe.ppo.updates, recipe.compute.score_tokens)


def sampled(lengths: Lengths, recipe: Recipe, count: int) -> Episodes:
    """So many responses at once, to the longest of the prompts."""
    rows = min(count, recipe.compute.rollout_rows)
    prompts = sorted(lengths.prompts[: max(count, LOOKED_AT)])[-count:]
    return Episodes(prompts, recipe.ppo.max_new_tokens, rows, count)


def _demonstrations(recipe: Recipe, base: LoadedBase) -> list[Row]:
    data = recipe.data
    if data.demonstrations is None:
        raise DataError("the sft stage has no demonstrations.", mend="Set data.demonstrations.path.")
    sources = data.demonstrations, data.heldout_demonstrations
    train, _ = read_split(read_demonstrations, *sources, data, recipe.seed, "demonstrations")
    encoded, _ = encode_demonstrations(base.tokenizer, train, data, base.context)
    return [((len(row.prompt), len(row.completion)),) for row in encoded]


def _preferences(recipe: Recipe, base: LoadedBase) -> list[Row]:
    data = recipe.data
    if data.preferences is None:
        raise DataError("the stages learn from pairs, and there are none.", mend="Set data.preferences.path.")
    sources = data.preferences, data.heldout_preferences
    train, _ = read_split(read_preferences, *sources, data, recipe.seed, "preferences")
    encoded, _ = encode_preferences(base.tokenizer, train, data, base.context)
    return [tuple((len(row.prompt), len(side)) for side in (row.chosen, row.rejected)) for row in encoded]


def _prompts(recipe: Recipe, base: LoadedBase) -> list[int]:
    prompts = load_prompts(recipe, base, SilentProgress())
    episodes = min(recipe.ppo.updates, LOOKED_AT) * recipe.ppo.episodes
    return [len(prompt.tokens) for prompt in prompts.of_episodes(range(episodes), recipe.seed)]


def _episodes(lengths: Lengths, recipe: Recipe) -> list[Row]:
    return [((prompt, recipe.ppo.max_new_tokens),) for prompt in lengths.prompts]


def _stage_steps(rows: Sequence[Row], recipe: Recipe, size: int, epochs: int, purpose: str) -> Steps:
    plan = optimiser_batches(len(rows), size, epochs, recipe.seed, purpose)
    batches = ([rows[index] for index in batch] for batch in plan)
    return _steps(batches, len(plan), recipe.compute.learn_tokens)


def _steps(batches: Iterator[Sequence[Row]], count: int, budget: int) -> Steps:
    plans = [micro_batches(batch, budget) for batch in islice(batches, LOOKED_AT)]
    return Steps(
        count,
        largest=max((micro for plan in plans for micro in plan), key=area),
        area=fmean(sum(map(area, plan)) for plan in plans),
        repeated=any(len(plan) > 1 for plan in plans),
        row_counts=frozenset(shape.area for plan in plans for micro in plan for shape in micro),
    )


def micro_batches(rows: Sequence[Row], budget: int) -> list[Micro]:
    """One batch as the learner takes it apart."""
    totals = [sum(prompt + response for prompt, response in row) for row in rows]
    return [_shapes([rows[index] for index in part]) for part in plan_by_tokens(totals, budget)]


def _shapes(rows: Sequence[Row]) -> Micro:
    length: Callable[[tuple[int, int]], int] = sum
    return [
        Shape(len(side), max(map(length, side)), sum(response for _, response in side))
        for side in zip(*rows, strict=True)
    ]
