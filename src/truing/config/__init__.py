"""Recipes on disk: YAML and overrides in, one checked `Recipe` out, and back again."""

from truing.config.loading import load_recipe, read_recipe, recorded_recipe, resolved_yaml
from truing.config.shelf import recipe_schema, recipe_shelf
from truing.config.variants import guard_functions, reward_sources, scores_in_python, variant, with_changes

__all__ = [
    "guard_functions",
    "load_recipe",
    "read_recipe",
    "recipe_schema",
    "recipe_shelf",
    "recorded_recipe",
    "resolved_yaml",
    "reward_sources",
    "scores_in_python",
    "variant",
    "with_changes",
]
