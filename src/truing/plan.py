"""The stages of a recipe, in order."""

from collections.abc import Iterator
from dataclasses import dataclass

from truing.recipe import Recipe
from truing.recipe_files import variant


@dataclass(frozen=True)
class Planned:
    """A stage of a run: its directory's name, its kind, and the recipe with its variant applied."""

    name: str
    kind: str
    recipe: Recipe


def plan(recipe: Recipe) -> Iterator[Planned]:
    """The stages in order, each variant of a stage right after the stage."""
    for kind in recipe.stages:
        yield Planned(kind, kind, recipe)
        if kind == "ppo":
            for name in recipe.ppo.variants:
                yield Planned(f"ppo-{name}", kind, variant(recipe, name))
