"""A recipe is examined: what its phases hold and take, what the machine has, and what would make it fit."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from truing.data.world import write_world
from truing.doctor.machine import Speed, measure, memory_of
from truing.doctor.phases import Phase, phases
from truing.doctor.shadow import Shadow
from truing.doctor.work import read_lengths
from truing.models.base import device_of, outline_base, quiet_transformers
from truing.pipeline import on_files_of
from truing.recipe import Recipe
from truing.recipe_files.overrides import assign
from truing.runs.memory import resident

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
    speed: Speed
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

    def seconds(self, phase: Phase) -> float:
        """Of one step, or of one update of PPO."""
        return sum(map(self.speed.seconds, phase.work))


def diagnose(recipe: Recipe) -> Diagnosis:
    """Examines a recipe without loading a weight.

    Raises:
        ModelError: its base cannot be read, or is of an architecture that cannot be counted.
        DataError: its rows cannot be used.
    """
    quiet_transformers()
    with TemporaryDirectory() as place:
        grounded = recipe if recipe.world is None else _on_world(recipe, Path(place))
        patient = _Patient(grounded)
        found = patient.examined()
        return found if found.fits else patient.with_changes(found)


def _on_world(recipe: Recipe, place: Path) -> Recipe:
    assert recipe.world is not None
    return on_files_of(write_world(recipe.world, recipe.seed, place), recipe)


class _Patient:
    """A recipe whose rows and base have been read once, to be examined with and without changes."""

    def __init__(self, recipe: Recipe) -> None:
        assert recipe.base is not None
        self._recipe = recipe
        self._device = device_of(recipe.compute)
        self._base = outline_base(recipe.base, recipe.compute)
        self._lengths = read_lengths(recipe, self._base)
        self._process = resident()
        self._shadows: dict[str, Shadow] = {}

    def examined(self) -> Diagnosis:
        """As it is."""
        shadow = self._shadow(self._recipe)
        speed = measure(shadow, min(self._recipe.compute.rollout_rows, self._recipe.ppo.episodes))
        found = list(phases(self._recipe, shadow, self._lengths))
        return Diagnosis(self._process, memory_of(self._device), found, speed)

    def with_changes(self, found: Diagnosis) -> Diagnosis:
        """The same with what would make it fit: changes one on the other, each only if it lowers the peak."""
        changes: dict[str, Any] = {}
        lowest = found
        for key, value in _changes(self._recipe, found.phases):
            changed = _changed(self._recipe, changes | {key: value})
            other = replace(found, phases=list(phases(changed, self._shadow(changed), self._lengths)))
            if other.peak < (1 - WORTH) * lowest.peak:
                changes, lowest = changes | {key: value}, other
            if lowest.fits:
                break
        return replace(found, changes=changes, peak_changed=lowest.peak)

    def _shadow(self, recipe: Recipe) -> Shadow:
        """What it has counted, it knows for the next change."""
        key = repr(recipe.lora)
        if key not in self._shadows:
            self._shadows[key] = Shadow(self._base.model, recipe.lora, self._device.type == "cpu")
        return self._shadows[key]


def _changes(recipe: Recipe, found: list[Phase]) -> Iterator[tuple[str, Any]]:
    """Recipe fields that lower the peak, from those that change no result to those that change what is learnt."""
    for factor in (2, 4, 8):
        for name, key in (("learn", "learn_tokens"), ("score", "score_tokens"), ("rollout", "rollout_rows")):
            largest = max((count for phase in found if phase.name == name for count in phase.row_counts), default=1)
            if largest >= factor:
                yield f"compute.{key}", largest // factor
    if recipe.roles == "separate":
        yield "roles", "shared"
    if recipe.sft.method == "full":
        yield "sft.method", "lora"
    for share in (0.5, 0.34):
        if recipe.lora.layers > share:
            yield "lora.layers", share


def _changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    document = recipe.model_dump()
    for key, value in changes.items():
        assign(document, key, value)
    return Recipe.model_validate(document)
