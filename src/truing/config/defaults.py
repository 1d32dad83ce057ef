"""What a recipe leaves out of how a stage learns is chosen by what it learns with.

The learning rate goes by the size of the base and by whether adapters or all weights are trained, batches and passes by
how many rows there are, threads by the size of the base, and how much is computed at once by the device.
docs/defaults.md has the measurements and the sources.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Any, TypeVar

from truing.config.recipe import Recipe
from truing.config.stages import STAGES, StageSpec
from truing.config.variants import with_changes

T = TypeVar("T")

AUTO = "auto"

THREADS = "compute.threads"

Rates = tuple[tuple[float, float], ...]
"""Parameters of the base and the learning rate; in between, straight on a log scale"""

RATES: dict[str, tuple[Rates, Rates]] = {
    "supervised": (
        ((0.3e6, 3e-3), (15e6, 1e-3), (135e6, 5e-4), (1e9, 2e-4), (13e9, 2e-4), (65e9, 1e-4)),
        ((0.3e6, 1e-3), (15e6, 5e-4), (135e6, 1e-4), (1e9, 2e-5), (7e9, 1e-5)),
    ),
    "preferences": (
        ((0.3e6, 3e-4), (15e6, 3e-4), (135e6, 2e-4), (1e9, 2e-5), (13e9, 2e-5), (65e9, 1e-5)),
        ((0.3e6, 1e-4), (15e6, 5e-5), (135e6, 3e-5), (1e9, 2e-6), (7e9, 1e-6)),
    ),
    "online": (
        ((0.3e6, 2e-4), (135e6, 1e-4), (1e9, 5e-5), (7e9, 2e-5)),
        ((0.3e6, 2e-4), (135e6, 2e-5), (7e9, 1e-6)),
    ),
}
"""By the kind of learning: those of adapters, and those of all weights. Online is from a policy's own responses,
and preferences are learnt from without a reward model"""
BATCHES = ((1_000, 8), (4_000, 16))
PASSES = ((2_000, 3), (10_000, 2))
"""Fewer rows than these are learnt in batches of, or in passes of"""
LARGEST_BATCH, FEWEST_PASSES = 32, 1
THREADS_PAY_FROM = 500_000
"""Parameters of a base; for smaller ones, threads gain little on a machine that is idle and lose much on a busy one"""
PROCESSES_PAY_FROM = 1_000_000
"""Parameters of a base; for smaller ones, what processes tell each other was seen to take longer than what they take
over. Where exactly it begins to pay was not measured"""
FEW_STEPS, A_TRIAL = 20, 100
"""Optimiser steps in which little is learnt, and rows so few that nobody expects it"""

ON_CPU: dict[str, Any] = {
    "compute.dtype": "float32",
    "compute.learn_tokens": 2048,
    "compute.score_tokens": 2048,
    "compute.rollout_rows": 64,
}
"""What is computed in, and how much at once, on a CPU; of a GPU see `preflight.sizes`"""
FIXED = ON_CPU | {
    "sft.epochs": 1,
    "sft.batch_size": 32,
    "sft.optimiser.learning_rate": 2e-4,
    "reward.epochs": 1,
    "reward.batch_size": 32,
    "reward.optimiser.learning_rate": 2e-4,
    "ppo.optimiser.learning_rate": 1e-4,
    "dpo.epochs": 1,
    "dpo.batch_size": 32,
    "dpo.optimiser.learning_rate": 5e-5,
}
"""What stood in their place before they were chosen"""


@dataclass(frozen=True)
class Circumstances:
    """What a stage learns with."""

    parameters: int
    """Of the base"""
    rows: int | None
    """To learn from; None for a stage that learns from its own responses"""


def given(value: T | None) -> T:
    """A setting that a recipe may leave out: it is chosen before a stage begins."""
    assert value is not None, "chosen by pipeline.choices before a stage begins"
    return value


def choices(recipe: Recipe, spec: StageSpec, found: Circumstances) -> dict[str, Any]:
    """What is chosen for the fields of a stage's section that the recipe leaves out, and for threads, by dotted keys.

    A rate goes with the batches and passes it was tried with: beside one that is named, they are what they always were.
    """
    fields = left_out(recipe, spec)
    rate = learning_rate(RATES[spec.rates][trains_all_weights(recipe, spec)], found.parameters)
    by_rows = found.rows if found.rows is not None and "optimiser.learning_rate" in fields else math.inf
    chosen = {
        "optimiser.learning_rate": float(f"{rate:.1g}"),
        "epochs": _by_rows(by_rows if spec.repeats else math.inf, PASSES, FEWEST_PASSES),
        "batch_size": _by_rows(by_rows, BATCHES, LARGEST_BATCH),
    }
    alone = recipe.compute.threads is None and found.parameters < THREADS_PAY_FROM
    return {f"{spec.name}.{key}": chosen[key] for key in fields} | ({THREADS: 1} if alone else {})


def left_out(recipe: Recipe, spec: StageSpec) -> list[str]:
    """The fields of a stage's section that are to be chosen, since the recipe names no value for them."""
    section = getattr(recipe, spec.name)
    return [key for key in ("optimiser.learning_rate", "epochs", "batch_size") if _is_left_out(section, key)]


def sizes_left_out(recipe: Recipe) -> list[str]:
    """What the recipe leaves to the device: what to compute in, and how much at once, by dotted keys."""
    return [key for key in ON_CPU if attrgetter(key)(recipe) in (None, AUTO)]


def sizes_in_words(chosen: Mapping[str, Any], device: str) -> str | None:
    """'bfloat16, learn_tokens 16,384, score_tokens 32,768, by default on cuda:0'; None where it is as on a CPU."""
    own = {key.rpartition(".")[2]: value for key, value in chosen.items() if key in ON_CPU and value != ON_CPU[key]}
    said = [str(value) if name == "dtype" else f"{name} {value:,}" for name, value in own.items()]
    return f"{', '.join(said)}, by default on {device}" if said else None


def with_choices(recipe: Recipe, spec: StageSpec, found: Circumstances) -> Recipe:
    """The recipe with everything chosen that the stage's section leaves out."""
    chosen = choices(recipe, spec, found)
    return with_changes(recipe, chosen) if chosen else recipe


def as_begun(recipe: Recipe, recorded: Recipe) -> Recipe:
    """The recipe, where it leaves out what a run was begun with before it was chosen, with that."""
    fields = [f"{name}.{key}" for name in STAGES for key in left_out(recipe, STAGES[name])] + sizes_left_out(recipe)
    found = {field: attrgetter(field)(recorded) for field in fields}
    fixed = {field: value for field, value in found.items() if value is not None and value == FIXED.get(field)}
    return with_changes(recipe, fixed) if fixed else recipe


def trains_all_weights(recipe: Recipe, spec: StageSpec) -> bool:
    """Whether a stage trains all weights: by its own method where it has one, else by the roles."""
    method = getattr(getattr(recipe, spec.name), "method", None)
    return recipe.roles == "separate" if method is None else bool(method == "full")


def learning_rate(table: Rates, parameters: int) -> float:
    """That of a table for a base of so many parameters."""
    size = min(max(parameters, table[0][0]), table[-1][0])
    for (below, high), (above, low) in pairwise(table):
        if size <= above:
            share = math.log(size / below) / math.log(above / below)
            return float(high * (low / high) ** share)
    return table[-1][1]


def in_words(chosen: dict[str, Any], recipe: Recipe, spec: StageSpec, found: Circumstances) -> str:
    """'learning rate 0.003, 3 epochs, batches of 8, by default for adapters on a base of 260K parameters and 450 rows'.

    Threads alone go by the size of the base and nothing else.
    """
    said = {
        "learning_rate": "learning rate {:g}",
        "epochs": "{} epochs",
        "batch_size": "batches of {}",
        "threads": "{} thread",
    }
    parts = [said[key.rpartition(".")[2]].format(value).replace("1 epochs", "1 epoch") for key, value in chosen.items()]
    base = f"a base of {size_in_words(found.parameters)} parameters"
    if list(chosen) == [THREADS]:
        return f"{parts[0]}, by default for {base}"
    method = "all weights of" if trains_all_weights(recipe, spec) else "adapters on"
    rows = f" and {found.rows:,} rows" if found.rows is not None else ""
    return f"{', '.join(parts)}, by default for {method} {base}{rows}"


def few_steps(recipe: Recipe, spec: StageSpec, found: Circumstances) -> list[str]:
    """A sentence where a stage that learns from rows takes so few optimiser steps that it learns little."""
    section = getattr(with_choices(recipe, spec, found), spec.name)
    if found.rows is None or found.rows < A_TRIAL or not hasattr(section, "epochs"):
        return []
    steps = given(section.epochs) * math.ceil(found.rows / given(section.batch_size))
    if steps >= FEW_STEPS:
        return []
    return [
        f"{steps} optimiser step{'s' if steps > 1 else ''} on {found.rows:,} rows teach little: raise "
        f"{spec.name}.epochs, lower {spec.name}.batch_size, or bring more rows"
    ]


def size_in_words(parameters: float) -> str:
    """260K, 135M, 7.2B."""
    for unit, sign in ((1e9, "B"), (1e6, "M")):
        if parameters >= unit:
            return f"{parameters / unit:.3g}{sign}"
    return f"{parameters / 1e3:.3g}K"


def _is_left_out(section: Any, key: str) -> bool:
    """Whether a field that the section has is None in it."""
    for name in key.split("."):
        if not hasattr(section, name):
            return False
        section = getattr(section, name)
    return section is None


def _by_rows(rows: float, table: Sequence[tuple[int, int]], otherwise: int) -> int:
    return next((value for fewer, value in table if rows < fewer), otherwise)
