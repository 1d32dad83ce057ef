"""Recipes on disk: YAML and overrides in, one checked `Recipe` out, and back again."""

from truing.recipe_files.loading import load_recipe, resolved_yaml, sound_sections
from truing.recipe_files.shelf import recipe_schema, recipe_shelf
from truing.recipe_files.variants import reward_parts, variant

__all__ = ["load_recipe", "recipe_schema", "recipe_shelf", "resolved_yaml", "reward_parts", "sound_sections", "variant"]
