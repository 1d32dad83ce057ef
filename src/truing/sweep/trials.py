"""The runs of a sweep: a point of the grid and a seed each, in a directory of its own."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from truing.config import with_changes
from truing.config.plan import plan
from truing.config.recipe import Recipe
from truing.config.variants import repeated_stages
from truing.runs.directory import RunDirectory
from truing.sweep.grid import Point

_AWKWARD = re.compile(r"[^A-Za-z0-9._=,+-]+")
LONGEST = 80
"""Characters of a directory's name, without what tells it from others that would be called the same"""


@dataclass(frozen=True, eq=False)
class Trial:
    """One run."""

    point: Point
    seed: int
    root: Path

    @property
    def name(self) -> str:
        """For people: 'ppo.kl.beta=0.1, seed 17'."""
        return ", ".join(filter(None, [self.point.label, f"seed {self.seed}"]))

    @property
    def overrides(self) -> list[str]:
        """`key=value` of all that makes its recipe."""
        return [*self.point.overrides, f"seed={self.seed}"]

    @cached_property
    def recipe(self) -> Recipe:
        return with_changes(self.point.recipe, {"seed": self.seed})

    @property
    def run(self) -> RunDirectory:
        """Its directory as it is now."""
        return RunDirectory(self.root)

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left to run."""
        return {stage.name for stage in plan(self.recipe)} <= self.stages_done

    @property
    def stages_done(self) -> set[str]:
        """Names of its finished stages, in whose directories nothing is cleared away any more."""
        run = self.run
        if not run.record.exists():
            return set()
        done = [stage.name for stage in run.lineage.stages if stage.state == "done"]
        return {name for name in done if not run.stage(name).checkpoints.exists()}


def trials_of(points: Sequence[Point], seeds: int, out: Path) -> list[Trial]:
    """Every point with every seed, of which there are so many from the recipe's on."""
    return [
        Trial(point, point.recipe.seed + number, out / folder_of(point.label) / f"seed-{point.recipe.seed + number}")
        for number in range(seeds)
        for point in points
    ]


def shared_stages(one: Trial, other: Trial) -> list[str]:
    """The stages that two runs have alike, in order: those that nothing concerns in which they differ."""
    if one.seed != other.seed:
        return []
    changes = [key for key, value in one.point.values.items() if other.point.values[key] != value]
    repeated = repeated_stages(one.recipe.stages, changes)
    return [stage for stage in one.recipe.stages if stage not in repeated]


def folder_of(label: str) -> str:
    """A label as a directory's name, with a digest where characters had to give way."""
    plain = _AWKWARD.sub("-", label.replace(", ", ","))
    if plain == label.replace(", ", ",") and len(plain) <= LONGEST and not plain.startswith("."):
        return plain
    return f"{plain[:LONGEST].lstrip('.')}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
