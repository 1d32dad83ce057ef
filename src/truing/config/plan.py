"""The stages of a recipe, in order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from truing.config.recipe import Recipe
from truing.config.stages import STAGES, StageSpec
from truing.config.variants import repeated_stages, variant


@dataclass(frozen=True)
class Planned:
    """A stage of a run: its directory's name, what it is, and the recipe with its variant applied."""

    name: str
    spec: StageSpec
    recipe: Recipe
    builds_on: Mapping[str, str]
    """The kinds of stages whose results it uses, to the directories these are in"""
    variant: str | None = None

    @property
    def kind(self) -> str:
        return self.spec.name


def plan(recipe: Recipe) -> Iterator[Planned]:
    """The stages in order, each variant of a stage right after the stage."""
    variants = {
        name: (variant(recipe, name), repeated_stages(recipe.stages, changes))
        for name, changes in recipe.variants.items()
    }
    for kind in recipe.stages:
        spec = STAGES[kind]
        before = [name for name in spec.builds_on if name in recipe.stages]
        yield Planned(kind, spec, recipe, {name: name for name in before})
        for name, (changed, repeated) in variants.items():
            if kind in repeated:
                directories = {other: f"{other}-{name}" if other in repeated else other for other in before}
                yield Planned(f"{kind}-{name}", spec, changed, directories, name)
