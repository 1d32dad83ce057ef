"""What can be seen of a recipe's models without loading one."""

import json
from collections.abc import Iterator
from pathlib import Path

from truing.data.read import HUB_ID
from truing.errors import ModelError
from truing.models.weight_files import unsafe_weights
from truing.recipe import Base, Recipe


def model_faults(recipe: Recipe) -> Iterator[ModelError]:
    """What is wrong with the directories that a recipe names; Hub ids are left alone."""
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
        unsafe = unsafe_weights(place)
        told = f", only {unsafe}, a format whose reading can run code" if unsafe else ""
        yield ModelError(f"holds no safetensors weights{told}.", where=where, mend=holds)


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return True
