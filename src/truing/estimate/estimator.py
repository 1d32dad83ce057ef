"""A recipe is tried on copies of its base: what its stages take, whether that fits, and what would make it fit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from truing.config.recipe import Recipe
from truing.config.variants import with_changes
from truing.core.errors import ModelError
from truing.core.processor import cores, threads_of_each
from truing.data.prepared import prepare
from truing.estimate.changes import candidates, changed
from truing.estimate.copies import Depth, bytes_of_copy, depth_of, depths_to_try, extrapolated, write_copy
from truing.estimate.dry_run import PRODUCTS_KEPT, Usage, dry_run
from truing.estimate.launches import ASSUMED, Launch, Measured, Share, launch_of, launches
from truing.estimate.machine import memory_of
from truing.estimate.rows import heaviest_rows
from truing.estimate.shortened import shortened, steps_of
from truing.estimate.work import Links
from truing.kernels.cpu.linear import suits
from truing.models.description import quiet_transformers
from truing.models.device import device_of
from truing.models.load import outline_base
from truing.pipeline.choices import with_all_choices
from truing.pipeline.world import on_files_of
from truing.preflight.held_by_recipe import models_of, numbers_on
from truing.preflight.launching import processes_pay
from truing.preflight.layouts import ONE_PROCESS, Layout
from truing.preflight.layouts import held as held_by_count
from truing.preflight.shapes import shape_of
from truing.preflight.spreading import check_layers
from truing.processes.speed import measured_speed
from truing.worlds.reviews import write_world

ROOM = 0.9
"""Share of the machine's memory that a run may take; the rest is the system's"""
WORTH = 0.05
"""Share of the peak that a change must save to be named; less may be noise"""
KERNEL, KERNELS, KERNELS_A_STEP = 0.65e6, 1024, 20
"""Bytes of a product that oneDNN has compiled, how many it keeps, how many a step of other lengths adds; measured"""
TOO_MUCH = Usage(float("inf"), float("inf"), 0.0)
"""Of a stage that cannot even be tried with few layers"""


@dataclass(frozen=True)
class Forecast:
    """What a recipe will hold and take on this machine, and what would make it fit."""

    stages: dict[str, Usage]
    """By their names"""
    parameters: int
    """Of the base"""
    memory: int | None
    """Bytes that the machine has; None where that cannot be told"""
    changes: dict[str, Any] = field(default_factory=dict)
    """Recipe fields to set for the run to fit, in this order; empty where it does or cannot"""
    peak_changed: float | None = None
    """Bytes at the peak with these changes"""
    launch: Launch | None = None
    """As it was asked for, of several processes"""
    launches: list[Launch] = field(default_factory=list)
    """Of up to as many processes, the fastest first"""
    share: Share | None = None
    """What each of so many processes has of the machine"""
    shared_memory: bool = True
    """Whether all processes have the one memory, as on a CPU, and not one each"""

    @property
    def peak(self) -> float:
        """Bytes at the worst moment of the run."""
        return max(usage.peak for usage in self.stages.values())

    @property
    def seconds(self) -> float:
        """Of all steps of all stages."""
        return sum(usage.total for usage in self.stages.values())

    @property
    def fits(self) -> bool:
        """Whether the peak leaves the system its share."""
        return self._within(self.peak)

    @property
    def would_fit(self) -> bool:
        """Whether it does with the changes."""
        return self.peak_changed is not None and self._within(self.peak_changed)

    @property
    def best(self) -> Launch | None:
        """Of the launches that fit the fastest, or one process where several do not pay."""
        fitting = [launch for launch in self.launches if self.holds(launch)]
        alone = [launch for launch in fitting if launch.layout == ONE_PROCESS]
        return next(iter(fitting if processes_pay(self.parameters) else [*alone, *fitting]), None)

    @property
    def slower(self) -> list[Launch]:
        """Those of several processes that take longer than one."""
        return [launch for launch in self.launches if launch.layout != ONE_PROCESS and launch.seconds > self.seconds]

    def holds(self, launch: Launch) -> bool:
        """Whether the machine has room for all of its processes, each on a device of its own where it has some."""
        return self._within(launch.peak * (launch.layout.processes if self.shared_memory else 1))

    def _within(self, size: float) -> bool:
        return self.memory is None or size <= ROOM * self.memory


def estimate(recipe: Recipe, layout: Layout = ONE_PROCESS) -> Forecast:
    """Runs a few steps of each stage on copies of the base that have few layers and random weights.

    Of a layout of several processes, no changes of the recipe are sought, but layouts that fit.

    Raises:
        ModelError: the base cannot be read, or its layers cannot be treated as the recipe or the layout says.
        RecipeError: weights are to be spread in two ways.
        DataError: the rows cannot be used.
        TruingError: whatever else a stage of the recipe refuses.
    """
    quiet_transformers()
    with TemporaryDirectory() as name:
        place = Path(name)
        on_files = recipe
        if recipe.world is not None:
            on_files = on_files_of(write_world(recipe.world, recipe.seed, place / "world"), recipe)
        trial = _Trial(on_files, place)
        if layout.processes > 1:
            return _spread_out(trial, layout)
        found = Forecast(trial.usages(trial.recipe), trial.model.num_parameters(), memory_of(trial.device))
        proposed = candidates(recipe.model_copy(update={"compute": trial.recipe.compute}))
        return found if found.fits else _with_changes(found, trial, proposed)


def _spread_out(trial: "_Trial", layout: Layout) -> Forecast:
    """What one process takes, and from that what each of several does."""
    recipe, model = trial.recipe, trial.model
    assert recipe.base is not None
    check_layers(model, recipe.base, layout)
    on_cpu, usages = trial.device.type == "cpu", trial.usages(recipe)
    measured = Measured(
        recipe,
        model,
        usages,
        trial.text_tokens(),
        _shares(trial, usages, layout.processes) if on_cpu else {},
        on_cpu,
    )
    return Forecast(
        dict(measured.usages),
        model.num_parameters(),
        memory_of(trial.device),
        launch=launch_of(measured, layout),
        launches=sorted(launches(measured, layout.processes), key=lambda launch: launch.seconds),
        shared_memory=on_cpu,
        share=measured.share(layout.processes),
    )


def _shares(trial: "_Trial", alone: dict[str, Usage], processes: int) -> dict[int, Share]:
    """Of so many processes on a CPU, and of fewer that divide them, which have its cores between them."""
    recipe = trial.recipe
    on_threads = {recipe.compute.threads or torch.get_num_threads(): alone}
    found: dict[int, Share] = {}
    for count in (count for count in range(2, processes + 1) if processes % count == 0):
        threads = recipe.compute.threads or threads_of_each(count)
        if threads not in on_threads:
            on_threads[threads] = trial.usages(with_changes(recipe, {"compute.threads": threads}))
        found[count] = Share(on_threads[threads], *_beside_others(count, threads))
    return found


def _beside_others(processes: int, threads: int) -> tuple[float, Links]:
    """How much slower each of so many computes, and what joins them; assumed where they did not come to speak."""
    found = measured_speed(processes, threads)
    if found is None:
        return max(1.0, processes * threads / cores()), ASSUMED["cpu"]
    return found.slowdown, Links(found.link, found.link, processes, found.message)


def _with_changes(found: Forecast, trial: "_Trial", proposed: Iterable[tuple[str, Any]]) -> Forecast:
    """The same with what would make it fit: changes one on the other, each only if it lowers the peak."""
    changes: dict[str, Any] = {}
    lowest = found
    for key, value in proposed:
        recipe = changed(trial.recipe, changes | {key: value})
        try:
            other = lowest if recipe is None else replace(found, stages=trial.usages(recipe, timed=False))
        except ModelError:  # of layers that are not known one by one
            continue
        if other.peak < (1 - WORTH) * lowest.peak:
            changes[key], lowest = value, other
        if lowest.fits:
            break
    return replace(found, changes=changes, peak_changed=lowest.peak)


class _Trial:
    """A recipe whose rows and base have been read once, to be tried with and without changes."""

    def __init__(self, recipe: Recipe, place: Path) -> None:
        assert recipe.base is not None
        self._place = place
        self.device = device_of(recipe.compute)
        self._base = outline_base(recipe.base, recipe.compute)
        prepared = prepare(recipe, self._base.text_format(recipe.data), self._base.context)
        self.recipe = with_all_choices(recipe, prepared, self._base.model.num_parameters())
        self._heaviest = heaviest_rows(self.recipe, prepared)

    @property
    def model(self) -> PreTrainedModel:
        """The base, without its weights."""
        return self._base.model

    def text_tokens(self) -> dict[str, int]:
        """Of a text that each stage reads at once."""
        return {stage: self._heaviest.tokens_of_text(self.recipe, stage) for stage in self.recipe.stages}

    def usages(self, recipe: Recipe, timed: bool = True) -> dict[str, Usage]:
        """What each stage of the recipe will take with all layers of its base."""
        whole = depth_of(self._base.model, recipe.lora.layers)
        measured: dict[Depth, dict[str, Usage]] = {}
        for depth in depths_to_try(whole):
            usages = self._dry_run(recipe, depth, timed)
            if usages is None:
                return dict.fromkeys(recipe.stages, TOO_MUCH)
            measured[depth] = usages
        found: dict[str, Usage] = {}
        steps = 0
        for stage in recipe.stages:
            by_depth = {depth: usages[stage] for depth, usages in measured.items()}
            held, seconds = (
                extrapolated(whole, {depth: getattr(usage, name) for depth, usage in by_depth.items()})
                for name in ("held", "seconds")
            )
            peak = self._peak(recipe, stage, whole, held, by_depth)
            own = steps_of(recipe, stage, self._heaviest.counts)
            steps += own
            compiled = self._compiled(steps)
            typical = seconds * self._heaviest.typical.get(stage, 1.0)
            found[stage] = Usage(peak + compiled, held + compiled, typical, own)
        return found

    def _peak(self, recipe: Recipe, stage: str, whole: Depth, held: float, measured: Mapping[Depth, Usage]) -> float:
        """Of the whole, which holds so many bytes between steps.

        What a step takes beyond these is what the copies took beyond theirs, and by count what further layers add: of
        what an allocator cannot reuse, two copies differ by more than by their layers.
        """
        try:
            counts = {depth: self._counted(recipe, stage, depth) for depth in (whole, *measured)}
        except ModelError:  # its layers cannot be told
            return extrapolated(whole, {depth: usage.peak for depth, usage in measured.items()})
        uncounted = max(usage.peak - usage.held - counts[depth] for depth, usage in measured.items())
        return max(held + counts[whole] + uncounted, *(usage.peak for usage in measured.values()))

    def _counted(self, recipe: Recipe, stage: str, depth: Depth) -> float:
        """Bytes that a step takes, by count, beyond what is held between steps, in a model of so many layers."""
        model = self._base.model
        shape = replace(shape_of(model), layers=depth.layers)
        own = with_changes(recipe, {"lora.layers": depth.adapted})
        tokens = self._heaviest.tokens_of_text(own, stage)
        numbers = numbers_on(self.device, own, stage, ONE_PROCESS, tokens, model)
        found = held_by_count(shape, models_of(own, stage), numbers, ONE_PROCESS)
        return (found.peak_on_cpu if self.device.type == "cpu" else found.peak) - found.kept

    def _dry_run(self, recipe: Recipe, depth: Depth, timed: bool) -> dict[str, Usage] | None:
        """On a copy of this depth; None where memory does not suffice."""
        assert recipe.base is not None
        memory = memory_of(self.device)
        if memory is not None and bytes_of_copy(self._base.model, depth.layers) > ROOM * memory:
            return None
        copy = self._place / f"{depth.layers} layers"
        if not copy.exists():
            write_copy(self._base, recipe.base, depth.layers, copy)
        base = recipe.base.model_copy(update={"path": str(copy), "gguf_file": None})
        with TemporaryDirectory(dir=self._place) as root:
            short = shortened(recipe, base, depth.adapted, timed)
            return dry_run(short, self._heaviest.rows, Path(root) / "run")

    def _compiled(self, steps: int) -> float:
        """Bytes of the products that oneDNN compiles in so many steps, one a shape, beyond a dry run's."""
        model = self._base.model
        largest = max((layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear)), default=0)
        used = self.device.type == "cpu" and suits(torch.empty(1, dtype=model.dtype).expand(largest))
        return KERNEL * max(0, min(KERNELS, KERNELS_A_STEP * steps) - PRODUCTS_KEPT) if used else 0.0
