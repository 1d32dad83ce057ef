"""Keys of a recipe that have moved: an older recipe is read as if it had been written today, and its reader is told.

A key brings its whole section along. Each move is listed under the version of truing that made it.
"""

import re
from typing import Any

from truing.config.dotted import assign, flat
from truing.config.mistakes import Mistake

MOVED = {
    "0.2": {
        "ppo.max_new_tokens": "rollout.max_new_tokens",
        "ppo.temperature": "rollout.temperature",
        "ppo.rewards": "rewards.sources",
        "ppo.missing_eos": "rewards.missing_eos",
        "on_bad_score": "rewards.on_bad_score",
        "reward.normalisation_samples": "rewards.normalisation_samples",
        "ppo.heldout_prompts": "evaluation.prompts",
        "ppo.heldout_every": "evaluation.every",
        "dpo.heldout_every": "evaluation.every",
        "judges": "evaluation.judges",
    }
}
OLD_ROOT = "ppo"
OLD_VARIANTS = f"{OLD_ROOT}.variants"
"""Before 0.2, variants were of PPO alone and their keys began there"""
_ABSENT = object()


def current_key(key: str) -> str:
    """What a dotted key is called now."""
    of_variant = re.fullmatch(rf"{re.escape(OLD_VARIANTS)}\.([^.]+)\.(.+)", key)
    if of_variant:
        return f"variants.{of_variant[1]}.{current_key(f'{OLD_ROOT}.{of_variant[2]}')}"
    for old, new in [(OLD_VARIANTS, "variants"), *(move for moves in MOVED.values() for move in moves.items())]:
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def bring_up_to_date(document: dict[str, Any]) -> tuple[list[str], list[Mistake]]:
    """Moves what stands at an old key to where it belongs now, in place.

    Returns:
        A sentence for each key that was moved, and a mistake for each that stands at its new place too.
    """
    notes: list[str] = []
    mistakes: list[Mistake] = []
    moved: dict[str, Any] = {}
    _move_variants(document, notes)
    for version, moves in MOVED.items():
        for old, new in moves.items():
            value = _take(document, old)
            if value is _ABSENT:
                continue
            if moved.setdefault(new, value) != value:
                notes.append(f"{old} is one with {new} since truing {version}, which stays {moved[new]}.")
                continue
            if _look_up(document, new) not in (_ABSENT, value):
                mistakes.append(Mistake(new, f"stands there beside {old}, which is its older name.", f"Remove {old}."))
            assign(document, new, value)
            notes.append(f"{old} is called {new} since truing {version}.")
    return notes, mistakes


def _move_variants(document: dict[str, Any], notes: list[str]) -> None:
    """Those of PPO alone become variants of the recipe; keys in variants move as others do."""
    old = _take(document, OLD_VARIANTS)
    if isinstance(old, dict):
        for name, changes in old.items():
            keys = (
                {f"ppo.{key}": value for key, value in flat(changes).items()} if isinstance(changes, dict) else changes
            )
            document.setdefault("variants", {})[name] = keys
        notes.append(f"{OLD_VARIANTS} is called variants since truing 0.2, and its keys begin with ppo.")
    variants = document.get("variants")
    if not isinstance(variants, dict):
        return
    for name, changes in variants.items():
        if isinstance(changes, dict):
            variants[name] = {current_key(key): value for key, value in flat(changes).items()}


def _look_up(document: dict[str, Any], key: str) -> Any:
    here: Any = document
    for part in key.split("."):
        if not isinstance(here, dict) or part not in here:
            return _ABSENT
        here = here[part]
    return here


def _take(document: dict[str, Any], key: str) -> Any:
    """What stands at a dotted key, which is then gone; `_ABSENT` where nothing does."""
    section, _, name = key.rpartition(".")
    here = _look_up(document, section) if section else document
    return here.pop(name, _ABSENT) if isinstance(here, dict) else _ABSENT
