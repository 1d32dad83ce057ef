"""truing validate."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from truing.cli.shelf import recipe_path
from truing.data.rows import read_demonstrations, read_preferences, read_prompts
from truing.errors import DataError, InputError, ModelError
from truing.recipe import Recipe
from truing.recipe_files import load_recipe

READERS: dict[str, Callable[..., list[Any]]] = {
    "demonstrations": read_demonstrations,
    "heldout_demonstrations": read_demonstrations,
    "preferences": read_preferences,
    "heldout_preferences": read_preferences,
    "prompts": read_prompts,
}


def validate_command(recipe_file: Path, overrides: list[str]) -> None:
    """Checks the recipe, the base's directory and every row of every file; all faults together."""
    recipe = load_recipe(recipe_path(recipe_file), overrides)
    faults = [*_base_faults(recipe)]
    for name, read in READERS.items():
        source = getattr(recipe.data, name)
        if source is not None:
            try:
                print(f"data.{name}: {len(read(source, recipe.data.transcripts))} rows are sound")
            except DataError as error:
                faults.append(error)
    if faults:
        raise InputError("\n".join(str(fault) for fault in faults))
    print(f"{recipe_file}: sound. Stages: {', '.join(recipe.stages)}.")


def _base_faults(recipe: Recipe) -> Iterator[InputError]:
    if recipe.base is None:
        return
    place = Path(recipe.base.path)
    if place.is_dir() and recipe.base.gguf_file is None and not (place / "config.json").is_file():
        yield ModelError("the directory has no config.json, so it holds no model.", where=str(place))
    if place.is_file() or (recipe.base.path.startswith((".", "/")) and not place.exists()):
        yield ModelError("is not a directory.", where=str(place), mend="base.path takes a model's directory or Hub id.")
