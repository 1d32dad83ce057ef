"""Changes of a recipe that lower its peak, and whether `truing run` would take the recipe with them."""

from collections.abc import Iterator, Mapping
from typing import Any

from truing.config import with_changes
from truing.config.checks import cross_checks
from truing.config.recipe import Recipe
from truing.core.errors import RecipeError
from truing.doctor.phase import Phase
from truing.models.load import device_of
from truing.models.quantised import check_quantisation


def candidates(recipe: Recipe, found: list[Phase]) -> Iterator[tuple[str, Any]]:
    """Recipe fields that may lower it, from those that change no result to those that change what is learnt."""
    for factor in (2, 4, 8):
        for name, key in (("learn", "learn_tokens"), ("score", "score_tokens"), ("rollout", "rollout_rows")):
            largest = max((count for phase in found if phase.name == name for count in phase.row_counts), default=1)
            if largest >= factor:
                yield f"compute.{key}", largest // factor
    yield "compute.gradient_checkpointing", True
    yield "compute.pack_weights", False
    yield "roles", "shared"
    yield "sft.method", "lora"
    if recipe.world is None:  # whose base is made in the run
        yield "base.quantize", "nf4"
    for share in (0.5, 0.34):
        if recipe.lora.layers > share:
            yield "lora.layers", share


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe | None:
    """The recipe with these fields set; None where `truing run` would refuse it."""
    other = with_changes(recipe, changes)
    if cross_checks(other):
        return None
    if other.base is not None and other.base.quantize == "nf4":
        try:
            check_quantisation(device_of(other.compute))
        except RecipeError:
            return None
    return other
