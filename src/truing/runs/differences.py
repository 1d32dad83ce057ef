"""What differs between the recipe, data and models a run was begun with and those it is given now, in words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Fingerprint = dict[str, Any]
"""What a data set, a model or a function is: see `lineage.fingerprint`"""

OTHERWISE = "Give another --out, or add --fork-to NEW to begin a run from the stages that still match."
SHOWN = 10


def flat(value: Any, key: str = "") -> dict[str, str]:
    """Dotted keys to values as JSON; what holds nothing, and a list of plain values, is a value itself."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if isinstance(value, dict) and value:
        parts = [flat(item, f"{key}.{name}" if key else str(name)) for name, item in value.items()]
        return {name: item for part in parts for name, item in part.items()}
    return {key: json.dumps(value, ensure_ascii=False, default=str)}


def differences(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """'ppo.kl.beta: 0.05 → 0.1' for each key that differs, in the order of the new recipe."""
    keys = [*new, *(key for key in old if key not in new)]
    pairs = [(key, old.get(key, "absent"), new.get(key, "absent")) for key in keys]
    return [f"{key}: {before} → {after}" for key, before, after in pairs if before != after]


def differs(old: Fingerprint, new: Fingerprint) -> bool:
    """Content decides, not the path it was found at; a revision known on one side only says nothing."""
    shared = (old.keys() & new.keys()) - {"path"}
    return not shared or any(old[key] != new[key] for key in shared)


def input_differences(name: str, old: Fingerprint, new: Fingerprint) -> list[str]:
    """'base/tokenizer.json: 3f2a9c01 → 91bc44d2' for each file that differs; nothing if none does.

    What is one file is told with its path: 'data.prompts (my/prompts.jsonl): 3f2a9c01 → 91bc44d2'.
    """
    if not differs(old, new):
        return []
    if "files" in old and "files" in new:
        return differences(*(_named(name, given["files"]) for given in (old, new)))
    if "path" in old and "hub" in new:
        return [f"{name} ({old['path']}): gone, and no other file is at {new['hub']}"]
    key = f"{name} ({new['path']})" if "path" in new else name
    return differences({key: _identity(old)}, {key: _identity(new)})


def in_short(found: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def _named(name: str, files: Mapping[str, str]) -> dict[str, str]:
    return {f"{name}/{file}": digest[:8] for file, digest in files.items()}


def _identity(given: Fingerprint) -> str:
    """A file's hash, a directory, or an id of the Hub with its revision."""
    if "sha256" in given:
        return str(given["sha256"])[:8]
    return "a directory" if "files" in given else " at ".join(filter(None, [given["hub"], given.get("revision")]))
