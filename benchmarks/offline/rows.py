"""Real text of mixed length: rows of the movies example, joined one, two or four at a time."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

JOINED = (1, 2, 4)


def demonstrations(data: Path, count: int) -> list[dict[str, Any]]:
    """So many prompts and completions."""
    rows = iter(_read(data / "demonstrations.jsonl"))
    found = []
    for index in range(count):
        parts = list(islice(rows, JOINED[index % len(JOINED)]))
        found.append({"prompt": parts[0]["prompt"], "completion": "".join(part["completion"] for part in parts)})
    return found


def pairs(data: Path, count: int) -> list[dict[str, Any]]:
    """So many pairs; the two sides differ in length as the rows do, and not by how many were joined."""
    rows = iter(_read(data / "preferences.jsonl"))
    found = []
    for index in range(count):
        parts = list(islice(rows, JOINED[index % len(JOINED)]))
        sides = {side: "".join(part[side] for part in parts) for side in ("chosen", "rejected")}
        found.append({"prompt": parts[0]["prompt"]} | sides)
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
