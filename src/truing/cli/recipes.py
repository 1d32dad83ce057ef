"""truing recipes."""

import json
from pathlib import Path

from rich.table import Table

from truing.cli.output import PlainConsole, say
from truing.cli.recipe_file import write_new_recipe
from truing.cli.shelf import recipe_path
from truing.config import recipe_schema, recipe_shelf
from truing.core.errors import RecipeError


def recipes_command(name: str | None, copy: Path | None, schema: bool) -> None:
    """Lists, prints or copies shipped recipes, or prints the schema."""
    if schema:
        say(json.dumps(recipe_schema(), indent=2))
    elif name is None and copy is not None:
        hint = "Write: truing recipes NAME --copy FILE"
        raise RecipeError("no recipe is named.", code="recipe/no-name", where=f"--copy {copy}", hint=hint)
    elif name is None:
        _list()
    elif copy is None:
        say(recipe_path(Path(name)).read_text(encoding="utf-8"), end="")
    else:
        write_new_recipe(copy, recipe_path(Path(name)).read_text(encoding="utf-8"), "--copy")
        say(str(copy))


def _list() -> None:
    table = Table("recipe", "what it does", box=None)
    for name, path in recipe_shelf().items():
        table.add_row(name, _summary(path))
    PlainConsole().print(table)


def _summary(path: Path) -> str:
    """The comment that a recipe opens with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)
