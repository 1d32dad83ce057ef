"""Recipes on disk: YAML and overrides in, one checked `Recipe` out, and back again."""

from truing.config.loading import load_recipe, read_recipe, recorded_recipe, resolved_yaml
from truing.config.migration import Migrated, migrate_recipe
from truing.config.shelf import recipe_schema, recipe_shelf
from truing.config.variants import (
    environment_sources,
    guard_functions,
    judge_kind,
    llm_rubrics,
    reads_columns,
    reward_sources,
    variant,
    with_changes,
)

__all__ = [
    "Migrated",
    "environment_sources",
    "guard_functions",
    "judge_kind",
    "llm_rubrics",
    "load_recipe",
    "migrate_recipe",
    "read_recipe",
    "reads_columns",
    "recipe_schema",
    "recipe_shelf",
    "recorded_recipe",
    "resolved_yaml",
    "reward_sources",
    "variant",
    "with_changes",
]
