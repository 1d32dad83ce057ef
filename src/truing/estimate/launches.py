"""A recipe over several processes: what each would hold, from what one was measured to take, and what fits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from truing.config.recipe import Recipe
from truing.core.errors import ModelError
from truing.estimate.dry_run import Usage
from truing.estimate.messages import messages
from truing.estimate.work import Case, Links, phases, update_of
from truing.kernels.backbone import known_layers
from truing.models.tensor_plan import tensor_plan
from truing.preflight.held_by_recipe import is_quantised, models_of, numbers_on
from truing.preflight.layouts import ONE_PROCESS, Held, Layout, held
from truing.preflight.shapes import HINT, shape_of

ASSUMED = {"cpu": Links(1e9, 1e9, 1024, 3e-4), "cuda": Links(25e9, 10e9, 8, 1e-4)}
"""By the kind of device: a loopback, and PCIe 4 on a machine with 80 Gb/s to others"""
LIBRARIES, OF_SEVERAL = 0.57e9, 0.13e9
"""Bytes of Python and its libraries, where no process could be measured, and of those for several processes"""


@dataclass(frozen=True)
class Share:
    """What each of several processes has of a machine."""

    usages: Mapping[str, Usage]
    """By stage, what one process takes that is alone, on as many threads as each of these has"""
    slowdown: float
    """Times as long that each computes beside the others"""
    links: Links


@dataclass(frozen=True)
class Launch:
    """A layout, and what each of its processes takes."""

    layout: Layout
    held: dict[str, Held]
    """By count, by stage"""
    peaks: dict[str, float]
    """Bytes, by stage"""
    seconds: float
    """Of all steps of all stages, without evaluations, checkpoints and loading"""

    @property
    def peak(self) -> float:
        """Bytes of each process at the worst moment of the run."""
        return max(self.peaks.values())


@dataclass(frozen=True)
class Measured:
    """What a recipe was found to take in one process."""

    recipe: Recipe
    model: PreTrainedModel
    """Its base, whose weights may be on the meta device"""
    usages: Mapping[str, Usage]
    """By stage"""
    text_tokens: Mapping[str, int]
    """Tokens of a text that is read at once, by stage"""
    shares: Mapping[int, Share] = field(default_factory=dict)
    """By the number of processes, where that was measured"""
    on_cpu: bool = True

    def counted(self, found: Held) -> float:
        """Bytes at the worst moment, in the memory that it computes in."""
        return found.peak_on_cpu if self.on_cpu else found.peak

    def share(self, processes: int) -> Share:
        """What each of so many has: as much as one alone, unless something else was measured."""
        return self.shares.get(processes, Share(self.usages, 1.0, ASSUMED["cpu" if self.on_cpu else "cuda"]))


def launches(measured: Measured, processes: int) -> list[Launch]:
    """Those of up to so many processes that the model and the recipe allow.

    Args:
        measured: what each stage takes in one process.
        processes: at most; of fewer, those numbers that divide it.

    Raises:
        ModelError: the model's layers cannot be told.
    """
    return [launch_of(measured, layout) for layout in _layouts(measured.recipe, measured.model, processes)]


def launch_of(measured: Measured, layout: Layout) -> Launch:
    """One of them: what was measured of one process, and by how much the layout changes what is counted."""
    recipe, shape = measured.recipe, shape_of(measured.model)
    device = torch.device("cpu" if measured.on_cpu else "cuda")
    share = measured.share(layout.processes)
    found: dict[str, Held] = {}
    peaks: dict[str, float] = {}
    seconds = 0.0
    for stage, usage in measured.usages.items():
        models, tokens = models_of(recipe, stage), measured.text_tokens[stage]
        numbers, of_one = (
            numbers_on(device, recipe, stage, of, tokens, measured.model) for of in (layout, ONE_PROCESS)
        )
        alone = held(shape, models, of_one, ONE_PROCESS)
        found[stage] = held(shape, models, numbers, layout)
        case = Case(shape, models, numbers, update_of(recipe, stage, tokens), layout)
        parts = phases(case)
        exchange = sum(phase.seconds_of_exchange(share.links, layout) for phase in parts.values())
        exchange += messages(case, device) * share.links.message
        alone_on_threads = share.usages[stage].seconds
        computing = share.slowdown * alone_on_threads / layout.processes / (1 - parts["learn"].waiting)
        seconds += usage.steps * (computing + exchange)
        known = usage.peak < float("inf")
        uncounted = usage.peak - measured.counted(alone) if known else LIBRARIES
        imported = OF_SEVERAL if _imports_more(layout, known) else 0.0
        peaks[stage] = measured.counted(found[stage]) + uncounted + imported
    return Launch(layout, found, peaks, seconds)


def _imports_more(layout: Layout, measured: bool) -> bool:
    """Whether libraries for several processes are to be added.

    They are not to what one process was measured to take where several have parts of weights: these lack gaps in its
    heap that one has, which were seen to take about as much (docs/layouts.md).
    """
    return layout.processes > 1 and not (measured and layout.parts > 1)


def _layouts(recipe: Recipe, model: PreTrainedModel, processes: int) -> Iterator[Layout]:
    """More processes first; of as many: rows shared, weights sharded, layers in stages, layers cut."""
    quantised = is_quantised(recipe)
    for count in (count for count in range(processes, 1, -1) if processes % count == 0):
        if not recipe.compute.shard:
            yield Layout(data=count)
        if not quantised:
            yield Layout(data=count, shard=True)
        for stages in range(2, min(count, len(known_layers(model, hint=HINT))) + 1):
            if count % stages == 0 and not recipe.compute.shard and not quantised:
                yield Layout(data=count // stages, pipeline=stages)
        for tensor in range(2, count + 1):
            if count % tensor == 0 and not recipe.compute.shard and _can_be_cut(model, tensor):
                yield Layout(data=count // tensor, tensor=tensor)
    yield ONE_PROCESS


def _can_be_cut(model: PreTrainedModel, tensor: int) -> bool:
    try:
        tensor_plan(model, tensor)
    except ModelError:
        return False
    return True
