"""The rows of a run on disk: what they were made of, and whether they are still what was written."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from truing.config import reads_columns
from truing.config.recipe import Recipe
from truing.core.records import Message
from truing.data.datasets import datasets_of_stages
from truing.data.encode import EncodedRow, interned
from truing.data.endings import Endings
from truing.data.prepared import Prepared

FORMAT = 8
"""Of what `save_prepared` writes"""
MANIFEST = "prepared.json"
REST = "settings.json"
SEPARATORS = ",", ":"
"""Between values, and behind names"""


def save_prepared(prepared: Prepared, directory: Path, key: str) -> None:
    """Writes a file a dataset and `prepared.json`, which vouches for them; `key` says of what they were made."""
    # Not as parquet: a table would have pandas imported, 60 MB and half a second.
    for name, rows in prepared.rows.items():
        with (directory / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(vars(row), separators=SEPARATORS)}\n" for row in rows)
    texts = [text if isinstance(text, str) else list(map(asdict, text)) for text in prepared.texts]
    rest = {name: getattr(prepared, name) for name in ("context", "pad", "bos", "chats", "remarks")}
    rest |= {"texts": texts, "endings": asdict(prepared.endings)}
    (directory / REST).write_text(json.dumps(rest), encoding="utf-8")
    manifest = {"key": key, "files": {file.name: _sha256(file) for file in sorted(directory.iterdir())}}
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def prepared_key(recipe: Recipe, fingerprints: Mapping[str, Mapping[str, Any]]) -> str:
    """What the rows of a run are made of, as a hash: its data, the base's tokenizer among its files, and its stages."""
    made_of = {
        "format": FORMAT,
        "inputs": {name: fingerprints[name] for name in fingerprints if name == "base" or name.startswith("data.")},
        "data": recipe.data.model_dump(exclude={"heldout", "max_length", "too_long"}),
        "datasets": datasets_of_stages(recipe),
        "stages": recipe.stages,
        "columns": reads_columns(recipe),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def load_prepared(directory: Path, key: str) -> Prepared | None:
    """What was saved; None where there is nothing, where it was made of other data, or where a file is damaged."""
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        whole = all(_sha256(directory / name) == digest for name, digest in manifest["files"].items())
        if manifest["key"] != key or not whole:
            return None
        rest = json.loads((directory / REST).read_bytes())
        texts = [
            text if isinstance(text, str) else tuple(Message(**turn) for turn in text) for text in rest.pop("texts")
        ]
        endings: dict[str, Any] = {
            name: tuple(one) if isinstance(one, list) else one for name, one in rest.pop("endings").items()
        }
        rest |= {name: tuple(rest[name]) for name in ("chats", "remarks")} | {"endings": Endings(**endings)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    rows = {file.stem: _read_rows(file) for file in map(directory.joinpath, manifest["files"]) if file.name != REST}
    return Prepared(rows, texts, **rest)


def chats_of(directory: Path) -> tuple[str, ...] | None:
    """The datasets of messages among what was saved; None where an older truing wrote it, which did not say."""
    try:
        return tuple(json.loads((directory / REST).read_bytes())["chats"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _read_rows(file: Path) -> list[EncodedRow]:
    with file.open(encoding="utf-8") as lines:
        return [_row(**json.loads(line)) for line in lines]


def _row(prompt: Iterable[int], completions: Mapping[str, Iterable[int]], **rest: Any) -> EncodedRow:
    ids = {name: interned(one) for name, one in completions.items()}
    return EncodedRow(prompt=interned(prompt), completions=ids, **rest)


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
