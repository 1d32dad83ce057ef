"""Keys of a recipe that have moved: an older recipe is read as if it had been written today, with a note on each.

A key brings its whole section along. A name that has moved never gets another meaning, so keys of all schemas can be
read together, such as an older `--set` beside a recipe of today.
"""

import re
from contextlib import suppress
from typing import Any

from truing.config.dotted import NoSuchPlaceError, assign, flat
from truing.config.schema import RELEASES
from truing.config.stages import STAGES, within
from truing.core.errors import Problem

MOVED = (
    (2, "ppo.max_new_tokens", "rollout.max_new_tokens"),
    (2, "ppo.temperature", "rollout.temperature"),
    (2, "ppo.rewards", "rewards.sources"),
    (2, "ppo.missing_eos", "rewards.missing_eos"),
    (2, "on_bad_score", "rewards.on_bad_score"),
    (2, "reward.normalisation_samples", "rewards.normalisation_samples"),
    (2, "ppo.heldout_prompts", "evaluation.prompts"),
    (2, "ppo.heldout_every", "evaluation.every"),
    (2, "dpo.heldout_every", "evaluation.every"),
    (2, "judges", "evaluation.judges"),
    (2, "ppo.variants", "variants"),
    (2, "rollout.responses_per_prompt", "ppo.responses_per_prompt"),
)
"""The schema that moved a key, its older name, and its name now"""
_OLD_VARIANTS = re.compile(r"ppo\.variants(\.[^.]+)?")
"""Variants that were of PPO alone, or one of them: their keys began below `ppo`"""
_IN_VARIANT = re.compile(r"(ppo\.)?variants\.([^.]+)\.(.+)")
_OLD_INPUT = re.compile(r"(?:dpo|ppo-(?P<variant>[^.]+))\.rewards\.(?P<index>\d+)")
"""Reward functions and models in the record of a run, which were once named by the stage that asked for them"""
_ABSENT = object()


def current_key(key: str) -> str:
    """What a dotted key is called now."""
    return _moved(key)[0]


def current_input(name: str) -> str:
    """What an input in the record of a run is called now."""
    match = _OLD_INPUT.fullmatch(name)
    if match is None:
        return current_key(name)
    root = f"variants.{match['variant']}." if match["variant"] else ""
    return f"{root}rewards.sources.{match['index']}"


def current_value(key: str, value: Any) -> Any:
    """What a value that is given at a dotted key means now."""
    match = _OLD_VARIANTS.fullmatch(key)
    if match is None or not isinstance(value, dict):
        return value
    if match[1] is None:
        return {name: current_value(f"{key}.{name}", changes) for name, changes in value.items()}
    return {f"ppo.{name}": inner for name, inner in value.items()}


def moved_note(key: str) -> str | None:
    """What the writer of a dotted key should know, if it has moved."""
    new, schema = _moved(key)
    return f"{key} is called {new} since truing {RELEASES[schema]}." if schema else None


def bring_up_to_date(document: dict[str, Any]) -> tuple[list[str], list[Problem]]:
    """Moves what stands at an older key to where it belongs now, in place, and writes variants with dotted keys.

    Returns:
        A note on each key that was moved, and a problem for each that stands at its place of today too.
    """
    notes: list[str | None] = []
    problems: list[Problem] = []
    moved: dict[str, str] = {}
    idle = _idle(document)
    for _, old, new in sorted(MOVED, key=lambda move: within(move[1], idle)):  # what is used comes first
        value = _take(document, old)
        there = _look_up(document, new)
        if value is _ABSENT or (new in moved and within(old, idle)):
            continue
        notes.append(moved_note(old))
        if moved.setdefault(new, old) == old:
            problems += [_given_twice(new, old)] if there is not _ABSENT else []
            with suppress(NoSuchPlaceError):  # the section is none, which is a problem of its own
                assign(document, new, current_value(old, value))
        elif there != value:
            notes.append(f"{new} stays {there}, as {moved[new]} has it.")
    variants = document["variants"] if isinstance(document.get("variants"), dict) else {}
    for name, changes in variants.items():
        if isinstance(changes, dict):
            keys = {f"variants.{name}.{key}": value for key, value in flat(changes).items()}
            notes += map(moved_note, keys)
            problems += [_given_twice(new, key) for key in keys if (new := current_key(key)) != key and new in keys]
            variants[name] = {current_key(key).removeprefix(f"variants.{name}."): value for key, value in keys.items()}
    return [note for note in notes if note], problems


def _idle(document: dict[str, Any]) -> tuple[str, ...]:
    """The sections of stages that the document leaves out."""
    stages = document.get("stages")
    return tuple(name for name in STAGES if name not in stages) if isinstance(stages, list) else ()


def _moved(key: str) -> tuple[str, int | None]:
    """What a dotted key is called now, and the schema that moved it, if one did."""
    if match := _IN_VARIANT.fullmatch(key):
        below, name, inner = match.groups("")
        new, schema = _moved(below + inner)
        return f"variants.{name}.{new}", schema or _moved(f"{below}variants")[1]
    return next(
        ((new + key.removeprefix(old), schema) for schema, old, new in MOVED if within(key, (old,))), (key, None)
    )


def _given_twice(new: str, old: str) -> Problem:
    what = f"stands there beside {old}, which is its older name."
    return Problem("recipe/moved-key", new, what, f"Remove {old}.")


def _look_up(document: dict[str, Any], key: str) -> Any:
    """What stands at a dotted key; `_ABSENT` where nothing does."""
    here: Any = document
    for part in key.split("."):
        if not isinstance(here, dict) or part not in here:
            return _ABSENT
        here = here[part]
    return here


def _take(document: dict[str, Any], key: str) -> Any:
    """What stands at a dotted key, which is then gone."""
    section, _, name = key.rpartition(".")
    here = _look_up(document, section) if section else document
    return here.pop(name, _ABSENT) if isinstance(here, dict) else _ABSENT
