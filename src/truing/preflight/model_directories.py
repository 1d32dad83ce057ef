"""What can be seen of a recipe's models, rewards and judges without loading one."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from truing.config import guard_functions, reward_sources
from truing.config.recipe import Recipe
from truing.config.sections import Base
from truing.core.errors import Problem
from truing.core.text import nearest
from truing.data.read import HUB_ID
from truing.models.weight_files import ADAPTER, read_settings, unreadable_weights, unsafe_weights

HOLDS = "A model's directory has config.json, tokenizer files and safetensors weights."
GENERATION = "generation_config.json"
LONGEST_HUB_ID = 96


def model_problems(recipe: Recipe) -> Iterator[Problem]:
    """What is wrong with the directories and the Python files that a recipe names; Hub ids are left alone."""
    if recipe.base is not None:
        yield from _directory_faults("base.path", recipe.base)
    for (kind, path), key in rewards_and_judges(recipe).items():
        if kind == "model":
            yield from _directory_faults(key, Base(path=path))
            yield from _label_faults(key, path)
        elif kind in ("function", "pairs"):
            yield from _function_faults(key, path)


def base_meant(recipe: Recipe, folder: Path) -> list[str]:
    """A sentence where the base is no directory, and a model of a like name stands where it would be, from `folder` on.

    folder: where the recipe lies.
    """
    if recipe.base is None or os.path.exists(recipe.base.path):
        return []
    path, place = recipe.base.path, folder / recipe.base.path
    close = nearest(place.name, [config.parent.name for config in place.parent.glob("*/config.json")])
    return [f"base.path: there is no {path}. Did you mean the directory {place.with_name(close)}?"] if close else []


def rewards_and_judges(recipe: Recipe) -> dict[tuple[str, str], str]:
    """Kind and path of every reward and judge, to the first key that names it."""
    keys: dict[tuple[str, str], str] = {}
    for key, part in reward_sources(recipe):
        keys.setdefault((part.kind, part.path or ""), f"{key}.path")
    for name, path in recipe.evaluation.judges.items():
        keys.setdefault(("function", path), f"evaluation.judges.{name}")
    for key, kind, path in guard_functions(recipe):
        keys.setdefault((kind, path), key)
    return keys


def _directory_faults(key: str, model: Base) -> Iterator[Problem]:
    place, where = Path(model.path), f"{key}: {model.path}"
    if not os.path.isdir(place):  # unlike Path's own, it raises nothing where a name is too long for a file
        if os.path.exists(place) or len(model.path) > LONGEST_HUB_ID or not HUB_ID.fullmatch(model.path):
            yield Problem("model/no-directory", key, "is no directory.", "Give a model's directory or a Hub id.", where)
    elif model.gguf_file is not None:
        if not os.path.isfile(place / model.gguf_file):
            yield Problem("model/no-gguf-file", key, f"holds no {model.gguf_file}.", "Correct base.gguf_file.", where)
    elif (place / ADAPTER).is_file():
        what = f"holds an adapter ({ADAPTER}), which is loaded beside a model and is none."
        hint = "Merge it into the model that it belongs to, and give the directory of the merged one."
        yield Problem("model/adapter-alone", key, what, hint, where)
    elif _config(place) is None:
        what = "has no config.json that can be read, so it holds no model."
        yield Problem("model/no-config", key, what, HOLDS, where)
    elif not any(place.glob("*.safetensors")):
        unsafe = unsafe_weights(place)
        only = f", only {unsafe}, a format whose reading can run code" if unsafe else ""
        yield Problem("model/no-safetensors", key, f"holds no safetensors weights{only}.", HOLDS, where)
    else:
        for name, reason in unreadable_weights(place):
            hint = "Fetch that file again; where it is a Git LFS pointer, with `git lfs pull`."
            yield Problem("model/unreadable-weights", key, f"{name} cannot be read ({reason}).", hint, where)
        if (place / GENERATION).is_file() and read_settings(place / GENERATION) is None:
            what = f"{GENERATION} cannot be read, so which tokens end a response of this model is not known."
            yield Problem("model/unreadable-settings", key, what, "Correct it, or take it away.", where)


def _label_faults(key: str, path: str) -> Iterator[Problem]:
    """A reward model has one label, and transformers gives two to a config that names none."""
    config = _config(Path(path))
    if config is None:
        return
    names, count = config.get("id2label"), config.get("num_labels", 2)
    labels = len(names) if isinstance(names, dict) else count
    if labels != 1:
        hint = "Take a model with num_labels: 1, or wrap this one in a reward of kind function."
        what = f"the model has {labels} labels; a reward model has one."
        yield Problem("model/labels", key, what, hint, f"{key}: {path}")


def _function_faults(key: str, path: str) -> Iterator[Problem]:
    """Of `file.py:function`; modules are left to the import system, which runs code."""
    file, _, _ = path.rpartition(":")
    if file.endswith(".py") and not os.path.isfile(file):
        hint = f"Paths start where the recipe is or at {Path.cwd()}; check the spelling."
        yield Problem("rewards/no-such-file", key, f"there is no file {file}.", hint, f"{key}: {path}")


def _config(directory: Path) -> dict[str, Any] | None:
    """What its config.json says; None where there is none that can be read."""
    return read_settings(directory / "config.json")
