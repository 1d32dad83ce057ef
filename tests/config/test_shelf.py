from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from truing.config import load_recipe, recipe_schema, recipe_shelf
from truing.config.recipe import Recipe

SHELF = Path(__file__).resolve().parents[2] / "recipes"


def test_the_shelf_holds_the_recipes_that_come_with_truing() -> None:
    here = {path.stem: path.read_bytes() for path in SHELF.glob("*.yaml")}
    assert {name: path.read_bytes() for name, path in recipe_shelf().items()} == here
    assert "quickstart" in recipe_shelf()


@pytest.mark.parametrize("path", recipe_shelf().values(), ids=lambda path: path.stem)
def test_every_recipe_on_the_shelf_loads(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def descriptions(schema: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Of every field: its own, or that of the section it refers to."""
    sections = {f"#/$defs/{name}": section for name, section in schema["$defs"].items()}
    for place, section in {"#": schema, **sections}.items():
        for name, field in section["properties"].items():
            referred = sections.get(field.get("$ref"), {})
            yield f"{place}/{name}", field.get("description") or referred.get("description")


def test_every_field_of_the_schema_says_what_it_means() -> None:
    found = dict(descriptions(recipe_schema()))
    assert {f"#/{name}" for name in Recipe.model_fields} < set(found)
    assert [name for name, description in found.items() if not description] == []


def test_the_schema_allows_no_other_keys_and_asks_for_none_that_has_a_default() -> None:
    schema = recipe_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert [name for name, section in schema["$defs"].items() if section["additionalProperties"] is not False] == []
    assert schema["additionalProperties"] is False
    required = {name: section["required"] for name, section in schema["$defs"].items() if "required" in section}
    assert required == {
        "Base": ["path"],
        "Source": ["path"],
        "RewardConfig": ["kind"],
        "LlmJudge": ["base_url", "model"],
    }
