"""Weights that could not be loaded are found by their headers alone, and only those that would be loaded."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from truing.models.weight_files import INDEX, WEIGHTS, unreadable_weights

WHOLE = save({"weight": torch.ones(4, 4)})
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def _sharded(place: Path) -> None:
    for number, name in enumerate(SHARDS):
        save_file({f"weight.{number}": torch.ones(4)}, place / name)
    index = {"weight_map": {f"weight.{number}": name for number, name in enumerate(SHARDS)}}
    (place / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "header too small"),
        (b"\0" * 64, "header"),
        (b"garbage garbage garbage", "header too large"),
        (WHOLE[:-1], "not fully covered"),
        (WHOLE + b"\0", "not fully covered"),
        (WHOLE[:40], "header"),
        (POINTER, "it is a Git LFS pointer"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(content)
    ((name, told),) = unreadable_weights(tmp_path)
    assert name == WEIGHTS
    assert reason in told


def test_whole_files_are_sound(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(WHOLE)
    (tmp_path / "consolidated.safetensors").write_bytes(POINTER)  # not what would be loaded
    assert list(unreadable_weights(tmp_path)) == []


def test_every_shard_of_the_index_is_looked_at(tmp_path: Path) -> None:
    _sharded(tmp_path)
    assert list(unreadable_weights(tmp_path)) == []
    (tmp_path / SHARDS[0]).write_bytes(POINTER)
    (tmp_path / SHARDS[1]).unlink()
    (pointer, _), (missing, reason) = unreadable_weights(tmp_path)
    assert [pointer, missing] == SHARDS
    assert "No such file" in reason


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": []}}', "[" * 100_000])
def test_an_index_that_cannot_be_read_is_named(index: str, tmp_path: Path) -> None:
    _sharded(tmp_path)
    (tmp_path / INDEX).write_text(index)
    assert len(list(unreadable_weights(tmp_path))) == 1
