"""What can be seen of a recipe's models, rewards and judges without loading one."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from truing.config import guard_functions, judge_kind, llm_rubrics, reward_sources
from truing.config.recipe import Recipe
from truing.config.sections import Base
from truing.core.errors import Problem
from truing.core.text import nearest
from truing.data.read import HUB_ID
from truing.models.even_shares import refuse_few_layers, refuse_uneven_heads
from truing.models.weight_files import ADAPTER, read_settings, unreadable_weights, unsafe_weights

HOLDS = "A model's directory has config.json, tokenizer files and safetensors weights."
GENERATION = "generation_config.json"
LONGEST_HUB_ID = 96
LAYERS, HEADS, KEY_HEADS = ("num_hidden_layers", "n_layer"), ("num_attention_heads", "n_head"), ("num_key_value_heads",)
"""What a config.json calls the counts of layers, of heads, and of those of keys and values"""


def model_problems(recipe: Recipe) -> Iterator[Problem]:
    """What is wrong with the directories and the Python files that a recipe names; Hub ids are left alone."""
    if recipe.base is not None:
        yield from _directory_faults("base.path", recipe.base)
    for (kind, path), key in rewards_and_judges(recipe).items():
        if kind == "model":
            yield from _directory_faults(key, Base(path=path))
            yield from _label_faults(key, path)
        elif kind in ("function", "pairs", "environment"):
            yield from _function_faults(key, path)
    for key, rubric in llm_rubrics(recipe):
        if not os.path.isfile(rubric):
            hint = f"Paths start where the recipe is or at {Path.cwd()}; check the spelling."
            yield Problem("rewards/no-rubric-file", key, f"there is no file {rubric}.", hint, f"{key}: {rubric}")


def base_meant(recipe: Recipe, folder: Path) -> list[str]:
    """A sentence where the base is no directory, and a model of a like name stands where it would be, from `folder` on.

    folder: where the recipe lies.
    """
    if recipe.base is None or os.path.exists(recipe.base.path):
        return []
    path, place = recipe.base.path, folder / recipe.base.path
    close = nearest(place.name, [config.parent.name for config in place.parent.glob("*/config.json")])
    return [f"base.path: there is no {path}. Did you mean the directory {place.with_name(close)}?"] if close else []


def check_layout(base: Base | None, tensor: int, pipeline: int) -> None:
    """ModelError where the layers of a base cannot be shared out so, by the counts in its config.json.

    Of a base without such a file, and of what is no count, nothing is said: that is seen as it is loaded.
    """
    if base is None or base.gguf_file is not None:
        return
    config = _config(Path(base.path)) or {}
    inner = config.get("text_config")
    layers, heads, key_heads = (
        _count(inner if isinstance(inner, dict) else config, names) for names in (LAYERS, HEADS, KEY_HEADS)
    )
    if layers is not None:
        refuse_few_layers(layers, pipeline, where=base.path)
    if heads is not None:
        refuse_uneven_heads(heads, key_heads or heads, tensor, where=base.path)


def rewards_and_judges(recipe: Recipe) -> dict[tuple[str, str], str]:
    """Kind and path of every reward and judge, to the first key that names it."""
    keys: dict[tuple[str, str], str] = {}
    for key, part in reward_sources(recipe):
        keys.setdefault((part.kind, part.path or ""), f"{key}.path")
    for name, path in recipe.evaluation.judges.items():
        keys.setdefault((judge_kind(recipe, path), path), f"evaluation.judges.{name}")
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


def _count(config: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """The first of these that a config has; None where that is no whole number."""
    found = next((config[name] for name in names if name in config), None)
    return found if isinstance(found, int) else None


def _config(directory: Path) -> dict[str, Any] | None:
    """What its config.json says; None where there is none that can be read."""
    return read_settings(directory / "config.json")
