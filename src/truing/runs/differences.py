"""What differs between the recipe, data and models a run was begun with and those it is given now, in words."""

import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from truing.config.paths import without_place
from truing.config.recipe import Recipe

Fingerprint = dict[str, Any]
"""What a data set, a model or a function is: see `lineage.fingerprint`"""

OTHERWISE = "Give another --out, or add --fork-to NEW to begin a run from the stages that still match."
SHOWN = 10
ABSENT, EMPTY = "absent", ("null", "{}", "[]")
GENERATION = "generation_config.json"
BESIDE_THE_MODEL = (GENERATION, "*.md", "LICENSE*", "NOTICE*", "*.pdf", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg")
"""Files of a model's directory that no stage learns from. Of the first, its end tokens are compared on their own"""


def flat(value: Any, key: str = "") -> dict[str, str]:
    """Dotted keys to values as JSON; what holds nothing, and a list of plain values, is a value itself."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if isinstance(value, dict) and value:
        parts = [flat(item, f"{key}.{name}" if key else str(name)) for name, item in value.items()]
        return {name: item for part in parts for name, item in part.items()}
    return {key: json.dumps(value, ensure_ascii=False, default=str)}


def differences(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """'ppo.kl.beta: 0.05 → 0.1' for each key that differs, in the order of the new recipe.

    A section that is empty on one side is told by what it holds on the other.
    """
    keys = [*new, *(key for key in old if key not in new)]
    pairs = [(key, old.get(key, ABSENT), new.get(key, ABSENT)) for key in keys]
    filled = {key[: dot.start()] for key in keys for dot in re.finditer(r"\.", key)}
    return [
        f"{key}: {before} → {after}"
        for key, before, after in pairs
        if before != after and not (key in filled and {before, after} <= {ABSENT, *EMPTY})
    ]


def comparable(recipe: Recipe) -> dict[str, str]:
    """A recipe's options as JSON, by their dotted keys, but for what changes no result beyond rounding.

    These are the places of files, whose content is compared, whether to go on with an unsound reward model, and
    what belongs to a process that takes the run up: how many threads, whether it keeps all of every weight, the server
    that it speaks to, and the page on which people judge.
    """
    left_out: dict[str, Any] = {
        "on_unsound_reward": True,
        "compute": {"threads", "shard"},
        "rollout": {"vllm": {"url", "seconds", "largest_mismatch"}},
        "guard": {"judge": {"page"}},
    }
    return without_places(recipe.model_dump(exclude=left_out))


def without_places(options: Mapping[str, Any]) -> dict[str, str]:
    """Options of a recipe as JSON, by their dotted keys, without the places of files."""
    values = flat(options)
    return {key: json.dumps(without_place(json.loads(value), key), ensure_ascii=False) for key, value in values.items()}


def differs(old: Fingerprint, new: Fingerprint) -> bool:
    """Content decides, not the path it was found at; what is known on one side only says nothing."""
    one, other = _decisive(old), _decisive(new)
    shared = one.keys() & other.keys()
    return not shared or any(one[key] != other[key] for key in shared)


def _decisive(given: Fingerprint) -> Fingerprint:
    """What a result can depend on: no path, and no file that only stands beside a model."""
    kept = {key: value for key, value in given.items() if key != "path"}
    if "files" in kept:
        kept["files"] = {name: digest for name, digest in kept["files"].items() if not _is_beside(name)}
        if GENERATION not in given["files"]:
            kept["ends"] = []
    return kept


def _is_beside(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in BESIDE_THE_MODEL)


def input_differences(name: str, old: Fingerprint, new: Fingerprint) -> list[str]:
    """'base/tokenizer.json: 3f2a9c01 → 91bc44d2' for each file that differs; nothing if none does.

    What is one file is told with its path: 'data.prompts (my/prompts.jsonl): 3f2a9c01 → 91bc44d2'.
    """
    if not differs(old, new):
        return []
    if "files" in old and "files" in new:
        return differences(*(_named(name, _decisive(given)) for given in (old, new)))
    if "path" in old and "hub" in new:
        return [f"{name} ({old['path']}): gone, and no other file is at {new['hub']}"]
    key = f"{name} ({new['path']})" if "path" in new else name
    return differences({key: _identity(old)}, {key: _identity(new)})


def in_short(found: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def mended(name: str, old: Fingerprint, new: Fingerprint) -> list[str]:
    """'base/README.md' for each file that differs and stands beside a model only, where nothing else differs."""
    if differs(old, new) or "files" not in old or "files" not in new:
        return []
    before, now = old["files"], new["files"]
    return [f"{name}/{file}" for file in sorted({*before, *now}) if before.get(file) != now.get(file)]


def _named(name: str, given: Fingerprint) -> dict[str, str]:
    ends = {f"{name}/{GENERATION}, eos_token_id": json.dumps(given["ends"])} if "ends" in given else {}
    return {f"{name}/{file}": digest[:8] for file, digest in given["files"].items()} | ends


def _identity(given: Fingerprint) -> str:
    """A file's hash, a directory, or an id of the Hub with its revision."""
    if "sha256" in given:
        return str(given["sha256"])[:8]
    return "a directory" if "files" in given else " at ".join(filter(None, [given["hub"], given.get("revision")]))
