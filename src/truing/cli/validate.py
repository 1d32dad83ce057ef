"""truing validate."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from truing.cli.shelf import recipe_path
from truing.data.prompts import different_prompts, refuse_too_few
from truing.data.read import HUB_ID
from truing.data.remarks import remarks
from truing.data.rows import read_demonstrations, read_preferences, read_prompts
from truing.data.split import refuse_learnt, split_by_prompt
from truing.errors import DataError, InputError, ModelError, RecipeError
from truing.recipe import Base, Recipe
from truing.recipe_files import load_recipe, sound_sections

READERS: dict[str, Callable[..., list[Any]]] = {
    "demonstrations": read_demonstrations,
    "heldout_demonstrations": read_demonstrations,
    "preferences": read_preferences,
    "heldout_preferences": read_preferences,
    "prompts": read_prompts,
}


def validate_command(recipe_file: Path, overrides: list[str]) -> None:
    """Checks the recipe, the directories of its models and every row of every file; all faults together."""
    path = recipe_path(recipe_file)
    try:
        recipe = load_recipe(path, overrides)
    except RecipeError as error:
        raise _with_those_of_its_files(error, path, overrides) from error
    for sentence in [*check_inputs(recipe), *_remarks(recipe)]:
        print(sentence)
    print(f"{recipe_file}: sound. Stages: {', '.join(recipe.stages)}.")


def _with_those_of_its_files(error: RecipeError, path: Path, overrides: list[str]) -> InputError:
    """The mistakes of a recipe together with the faults of the files that its sound sections name."""
    recipe = sound_sections(path, overrides)
    faults = [] if recipe is None else _faults(recipe)[1]
    return InputError("\n".join([str(error), *map(str, faults)])) if faults else error


def _remarks(recipe: Recipe) -> Iterator[str]:
    """What is odd about rows that can be used, a sentence each."""
    for name in READERS:
        source = getattr(recipe.data, name)
        yield from (f"data.{name}: {sentence}" for sentence in (remarks(source) if source is not None else ()))


def check_inputs(recipe: Recipe) -> list[str]:
    """What the recipe's files hold, in words.

    Raises:
        InputError: what is wrong with them, all faults together.
    """
    sound, faults = _faults(recipe)
    if not faults and recipe.world is None and recipe.stages != ["sft"]:
        refuse_too_few(len(different_prompts(recipe.data)), recipe)
    if faults:
        raise InputError("\n".join(dict.fromkeys(map(str, faults))))  # a held-out file has its training file read again
    return sound


def _faults(recipe: Recipe) -> tuple[list[str], list[InputError]]:
    """What is sound in words, and what is wrong."""
    sound = []
    faults: list[InputError] = [*_model_faults(recipe)]
    for name in READERS:
        try:
            count = _rows(recipe, name)
        except DataError as error:
            faults.append(error)
        else:
            sound += [f"data.{name}: {count} rows are sound"] if count else []
    return sound, faults


def _rows(recipe: Recipe, name: str) -> int:
    """How many rows a source of the recipe has, 0 where it is not named; DataError unless all of them can be used."""
    data = recipe.data
    source = getattr(data, name)
    if source is None:
        return 0
    rows = READERS[name](source, data.transcripts)
    if name in ("demonstrations", "preferences") and getattr(data, f"heldout_{name}") is None:
        split_by_prompt(rows, data.heldout, recipe.seed, name)
    learnt = name.removeprefix("heldout_")
    learnt_from = getattr(data, learnt)
    if learnt != name and learnt_from is not None:  # it is missing where the recipe itself is at fault
        refuse_learnt(rows, READERS[name](learnt_from, data.transcripts), learnt)
    return len(rows)


def _model_faults(recipe: Recipe) -> Iterator[ModelError]:
    """What can be seen of a model without loading it."""
    if recipe.base is not None:
        yield from _directory_faults("base.path", recipe.base)
    for index, part in enumerate(recipe.ppo.rewards):
        if part.kind == "model" and part.path is not None:
            yield from _directory_faults(f"ppo.rewards.{index}.path", Base(path=part.path))


def _directory_faults(key: str, model: Base) -> Iterator[ModelError]:
    place, where = Path(model.path), f"{key}: {model.path}"
    holds = "A model's directory has config.json, tokenizer files and safetensors weights."
    if not place.is_dir():
        if place.exists() or not HUB_ID.fullmatch(model.path):
            yield ModelError("is no directory.", where=where, mend="Give a model's directory or a Hub id.")
    elif model.gguf_file is not None:
        if not (place / model.gguf_file).is_file():
            yield ModelError(f"holds no {model.gguf_file}.", where=where, mend="Correct base.gguf_file.")
    elif not _is_json(place / "config.json"):
        yield ModelError("has no config.json that can be read, so it holds no model.", where=where, mend=holds)
    elif not any(place.glob("*.safetensors")):
        unsafe = next((file.name for file in sorted(place.glob("*")) if file.suffix in (".bin", ".pt", ".pth")), None)
        told = f", only {unsafe}, a format whose reading can run code" if unsafe else ""
        yield ModelError(f"holds no safetensors weights{told}.", where=where, mend=holds)


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return True
