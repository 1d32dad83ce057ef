"""Changes of a recipe that may lower its peak, and whether `truing run` would take the recipe with them."""

from collections.abc import Iterator, Mapping
from typing import Any

from truing.config.checks import cross_checks
from truing.config.recipe import Recipe
from truing.config.variants import with_changes
from truing.core.errors import RecipeError
from truing.models.device import device_of
from truing.models.quantised import check_quantisation


def candidates(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Recipe fields to try, from those that change no result to those that change what is learnt."""
    compute = recipe.compute
    for divisor in (4, 16):
        for key in ("learn_tokens", "score_tokens", "rollout_rows"):
            size = getattr(compute, key)
            if size is not None and size >= divisor:
                yield f"compute.{key}", size // divisor
    if not compute.gradient_checkpointing:
        yield "compute.gradient_checkpointing", True
    if compute.pack_weights:
        yield "compute.pack_weights", False
    if recipe.roles == "separate":
        yield "roles", "shared"
    if recipe.sft.method == "full":
        yield "sft.method", "lora"
    if recipe.base is not None and recipe.base.quantize == "none":  # the embedded world makes its own
        yield "base.quantize", "nf4"
    yield from (("lora.layers", share) for share in (0.5, 0.34) if recipe.lora.layers > share)


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
