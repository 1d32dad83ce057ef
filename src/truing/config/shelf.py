"""What can be shown of recipes: those that come with truing, and the schema they all follow."""

from pathlib import Path
from typing import Any

from truing.config.recipe import Recipe
from truing.config.schema import DESCRIPTION, KEY, SCHEMA
from truing.config.sections import Section

_PACKAGE = Path(__file__).resolve().parents[1]


def recipe_shelf() -> dict[str, Path]:
    """Name to file of the recipes that come with truing, by name: those in the package, or in its checkout."""
    folders = [_PACKAGE / "recipes", _PACKAGE.parents[1] / "recipes"]
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def recipe_schema() -> dict[str, Any]:
    """The recipe as JSON Schema (draft 2020-12), with what each field means."""
    schema = Recipe.model_json_schema()
    for name in _sections_with_defaults(Recipe()):
        # What such a section requires is there by default, and a recipe names only what differs.
        schema["$defs"][name].pop("required", None)
    stated = {"type": "integer", "minimum": 1, "maximum": SCHEMA, "default": SCHEMA, "description": DESCRIPTION}
    schema["properties"] = {KEY: stated, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _sections_with_defaults(section: Section) -> set[str]:
    inner = [value for _, value in section if isinstance(value, Section)]
    return {type(value).__name__ for value in inner}.union(*map(_sections_with_defaults, inner))
