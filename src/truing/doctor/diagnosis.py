"""A recipe is examined: what its phases hold and take, what the machine has, and what would make it fit."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from truing.config.recipe import Recipe
from truing.core.errors import ModelError
from truing.doctor import stopwatch
from truing.doctor.four_bit import in_four_bits
from truing.doctor.lengths import read_lengths
from truing.doctor.machine import memory_of
from truing.doctor.mends import candidates, changed
from truing.doctor.phase import Phase
from truing.doctor.phases import phases
from truing.doctor.shadow import Shadow
from truing.models.load import device_of, outline_base, quiet_transformers
from truing.pipeline.world import on_files_of
from truing.runs.memory import resident
from truing.worlds.reviews import write_world

ROOM = 0.9
"""Share of the machine's memory that a run may take; the rest is the system's"""
WORTH = 0.02
"""Share of the peak that a change must save to be named"""
SLACK = 1.3
"""Of activations, which come and go: freed memory that the allocator cannot hand out again at once. Measured."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found."""

    process: int
    """Bytes of Python, libraries, tokenizer and rows"""
    memory: int | None
    """Bytes that the machine has; None where that cannot be told"""
    phases: list[Phase]
    seconds: list[float | None] | None = None
    """Of one step of each phase, or of one update of PPO; None for a phase without steps. Measured on a CPU, where the
    run fits and nothing is quantised"""
    changes: dict[str, Any] = field(default_factory=dict)
    """Recipe fields to set for the run to fit, in this order; empty where it does or cannot"""
    peak_changed: float | None = None
    """Bytes at the peak with these changes"""

    def bytes(self, phase: Phase) -> float:
        """All that is held in a phase, with the process itself."""
        return self.process + phase.bytes + (SLACK - 1) * phase.parts.get("activations", 0.0)

    @property
    def peak(self) -> float:
        """Bytes at the worst moment."""
        return max(map(self.bytes, self.phases))

    @property
    def fits(self) -> bool:
        """Whether the peak leaves the system its share."""
        return self._within(self.peak)

    @property
    def would_fit(self) -> bool:
        """Whether it does with the changes."""
        return self.peak_changed is not None and self._within(self.peak_changed)

    def _within(self, size: float) -> bool:
        return self.memory is None or size <= ROOM * self.memory


def diagnose(recipe: Recipe) -> Diagnosis:
    """Examines a recipe without loading a weight.

    Raises:
        ModelError: its base cannot be read, or is of an architecture that cannot be counted, or whose layers cannot be
            treated as the recipe says.
        DataError: its rows cannot be used.
    """
    quiet_transformers()
    with TemporaryDirectory() as place:
        patient = _Patient(recipe, _grounding(recipe, Path(place)))
        found = patient.examined()
        return found if found.fits else patient.with_changes(found)


def _grounding(recipe: Recipe, place: Path) -> Callable[[Recipe], Recipe]:
    """What puts a recipe on the embedded world on files; the files are written at once."""
    if recipe.world is None:
        return lambda same: same
    paths = write_world(recipe.world, recipe.seed, place)
    return lambda on_world: on_files_of(paths, on_world)


class _Patient:
    """A recipe whose rows and base have been read once, to be examined with and without changes."""

    def __init__(self, recipe: Recipe, grounding: Callable[[Recipe], Recipe]) -> None:
        self._recipe, self._grounding = recipe, grounding
        grounded = grounding(recipe)
        assert grounded.base is not None
        self._device = device_of(recipe.compute)
        self._base = outline_base(grounded.base, recipe.compute)
        self._lengths = read_lengths(grounded, self._base)
        self._process = resident()
        self._shadows: dict[str, Shadow] = {}

    def examined(self) -> Diagnosis:
        """As it is."""
        found = Diagnosis(self._process, memory_of(self._device), self._phases(self._recipe))
        shadow = self._shadow(self._recipe)
        if self._device.type != "cpu" or shadow.whole or not found.fits:
            return found
        return replace(found, seconds=[self._seconds(phase, shadow) for phase in found.phases])

    def _seconds(self, phase: Phase, shadow: Shadow) -> float | None:
        threads = self._recipe.compute.threads
        return sum(stopwatch.seconds(work, shadow, threads) for work in phase.work) if phase.work else None

    def with_changes(self, found: Diagnosis) -> Diagnosis:
        """The same with what would make it fit: changes one on the other, each only if it lowers the peak."""
        changes: dict[str, Any] = {}
        lowest = found
        for key, value in candidates(self._recipe, found.phases):
            other = self._with(found, changes | {key: value})
            if other is not None and other.peak < (1 - WORTH) * lowest.peak:
                changes, lowest = changes | {key: value}, other
            if lowest.fits:
                break
        return replace(found, changes=changes, peak_changed=lowest.peak)

    def _with(self, found: Diagnosis, changes: dict[str, Any]) -> Diagnosis | None:
        """What is found with these changes; None where a run would refuse them."""
        recipe = changed(self._recipe, changes)
        try:
            return None if recipe is None else replace(found, phases=self._phases(recipe))
        except ModelError:  # of layers that are not known one by one
            return None

    def _phases(self, recipe: Recipe) -> list[Phase]:
        return list(phases(self._grounding(recipe), self._shadow(recipe), self._lengths))

    def _shadow(self, recipe: Recipe) -> Shadow:
        """What it has counted, it knows for the next change."""
        four_bits = recipe.base is not None and recipe.base.quantize == "nf4"
        checkpointing = recipe.compute.gradient_checkpointing
        key = repr((recipe.lora, checkpointing, four_bits))
        if key not in self._shadows:
            model = in_four_bits(self._base.model) if four_bits else self._base.model
            self._shadows[key] = Shadow(model, recipe.lora, self._device.type == "cpu", checkpointing)
        return self._shadows[key]
