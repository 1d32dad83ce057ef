"""Dotted keys into a document: `ppo.kl.beta`, and `rewards.sources.0.weight` into a list."""

from typing import Any

from truing.config.messages import shown

WHOLE = ("evaluation.judges",)
"""Sections of names that are the user's own: one replaces the other, and an empty one has none"""


class NoSuchPlaceError(Exception):
    """A dotted key that leads nowhere; its text is a sentence."""


def assign(document: dict[str, Any], key: str, value: Any) -> None:
    """Puts a value at a dotted key, making sections that are missing; numbers count the entries of a list from 0."""
    *parents, last = key.split(".")
    here: Any = document
    for depth, part in enumerate(parents):
        spot = _spot(here, part, ".".join(parents[:depth]))
        if isinstance(here, dict) and here.get(part) is None:
            here[part] = {}
        here = here[spot]
    here[_spot(here, last, ".".join(parents))] = value


def value_at(document: dict[str, Any], key: str) -> Any:
    """What stands at a dotted key; None where nothing does."""
    here: Any = document
    for part in key.split("."):
        if isinstance(here, list):
            here = here[int(part)] if part.isdecimal() and int(part) < len(here) else None
        else:
            here = here.get(part) if isinstance(here, dict) else None
    return here


def flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys, each at the place of its last mention; lists and `WHOLE` stay as they are."""
    result: dict[str, Any] = {}
    for name, value in section.items():
        whole = not isinstance(value, dict) or prefix + name in WHOLE
        parts = {prefix + name: value} if whole else flat(value, f"{prefix}{name}.")
        for key, part in parts.items():
            result.pop(key, None)
            result[key] = part
    return result


def _spot(here: Any, part: str, key: str) -> str | int:
    """`part` as an index of `here`, which stands at `key`."""
    if isinstance(here, dict):
        return part
    if not isinstance(here, list):
        raise NoSuchPlaceError(f"{key} is {shown(here)} and no section, so it has no {part}.")
    if not (part.isdecimal() and int(part) < len(here)):
        entries = "1 entry" if len(here) == 1 else f"{len(here)} entries"
        raise NoSuchPlaceError(f"{key} has {entries}, counted from 0, and none is called {part}.")
    return int(part)
