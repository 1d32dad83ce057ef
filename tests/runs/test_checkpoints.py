"""A checkpoint is whole or absent, is never used when damaged, and the older ones go only once it is proved."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from truing.core.errors import RunError
from truing.runs import checkpoints, files
from truing.runs.checkpoints import (
    MANIFEST,
    SHARD,
    STATE,
    TENSORS,
    Part,
    newest_checkpoint,
    pin_checkpoint,
    pinned_checkpoint,
    remove_after,
    save_checkpoint,
)

WEIGHTS = {"weight": torch.tensor([[1.5, -2.0]]), "count": torch.tensor(3)}


def _save(place: Path, *steps: int, keep_last: int = 5) -> None:
    for step in steps:
        save_checkpoint(place, step, WEIGHTS, {"beta": 0.1 * step}, keep_last)


def test_what_was_saved_comes_back_to_the_bit(tmp_path: Path) -> None:
    _save(tmp_path, 7)
    found = newest_checkpoint(tmp_path, print)
    assert found is not None
    assert (found.step, found.state["beta"]) == (7, 0.1 * 7)
    assert all(torch.equal(found.tensors[name], value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize("axis", [0, 1])
def test_parts_in_several_files_are_one_tensor_again(tmp_path: Path, axis: int) -> None:
    whole = torch.arange(15.0).reshape(5, 3)
    _save_in_parts(tmp_path, *whole.tensor_split([2], dim=axis), axis=axis)
    found = newest_checkpoint(tmp_path, print)
    assert found is not None
    assert torch.equal(found.tensors["parts"], whole)
    assert sorted(found.tensors) == ["count", "parts", "weight"]
    with pytest.raises(KeyError):
        found.tensors["other"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("missing", r"is not whole \(.*shard-00001.safetensors.*\)"),
        ("more", "is damaged: its manifest does not name shard-00002.safetensors"),
        ("changed", "is damaged: shard-00001.safetensors is not what its manifest says"),
    ],
)
def test_a_checkpoint_whose_parts_are_not_all_there_is_not_used(tmp_path: Path, fault: str, told: str) -> None:
    _save_in_parts(tmp_path, torch.ones(2), torch.ones(1))
    last = tmp_path / "step-00000007" / SHARD.format(1)
    if fault == "missing":
        last.unlink()
    elif fault == "more":
        shutil.copy(last, last.with_name(SHARD.format(2)))
    else:
        last.write_bytes(last.read_bytes()[:-1] + b"\1")
    said: list[str] = []
    assert newest_checkpoint(tmp_path, said.append) is None
    assert re.search(rf"step-00000007 {told}; none is before it", said[0]), said


def _save_in_parts(place: Path, *parts: torch.Tensor, axis: int = 0) -> None:
    """As several processes do, each its own part."""
    with pytest.MonkeyPatch.context() as patch:
        there: list[Path] = []

        def all_gather(value: Any) -> list[Any]:
            if isinstance(value, str):  # the owner's directory
                there.extend(Path(value, SHARD.format(rank)) for rank in range(len(parts)))
                for file, part in list(zip(there, parts, strict=True))[1:]:
                    save_file({"parts": part.contiguous()}, file)
                return [value]
            return [(file.name, files.sha256_file(file)) for file in there]

        patch.setattr(checkpoints.group, "broadcast", lambda asked: all_gather(asked())[0])
        patch.setattr(checkpoints.group, "all_gather", all_gather)
        save_checkpoint(place, 7, WEIGHTS, {}, 5, {"parts": Part(parts[0].contiguous(), axis)})


def test_the_newest_are_kept(tmp_path: Path) -> None:
    _save(tmp_path, 9, 10, 100, keep_last=2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000010", "step-00000100"]


def test_a_pinned_one_is_kept_until_another_is(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    pin_checkpoint(tmp_path, 1)
    _save(tmp_path, 2, 3, keep_last=1)
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-00000001", "step-00000003"]
    pin_checkpoint(tmp_path, 3)
    _save(tmp_path, 4, keep_last=1)
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-00000003", "step-00000004"]
    found = newest_checkpoint(tmp_path, print)
    assert found is not None
    assert found.step == 4


def test_who_goes_back_to_the_pinned_one_leaves_none_after_it(tmp_path: Path) -> None:
    _save(tmp_path, 1, 2, 3, 4)
    pin_checkpoint(tmp_path, 2)
    found = pinned_checkpoint(tmp_path)
    assert (found.step, found.state["beta"]) == (2, 0.1 * 2)
    assert all(torch.equal(found.tensors[name], value) for name, value in WEIGHTS.items())
    remove_after(tmp_path, found.step)
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-00000001", "step-00000002"]


def test_without_a_pin_there_is_nothing_to_go_back_to_and_all_stays(tmp_path: Path) -> None:
    _save(tmp_path, 1, 2)
    with pytest.raises(RunError, match="none is pinned") as refused:
        pinned_checkpoint(tmp_path)
    assert refused.value.where == str(tmp_path)
    assert len(list(tmp_path.glob("step-*"))) == 2


def test_none_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path, print) is None
    assert newest_checkpoint(tmp_path / "absent", print) is None


def _flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


DAMAGE = {
    "a bit flipped": _flip_a_bit,
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "emptied": lambda file: os.truncate(file, 0),
    "missing": lambda file: file.unlink(),
}


@pytest.mark.parametrize("file", [TENSORS, STATE, MANIFEST])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_named_and_the_one_before_is_used(tmp_path: Path, file: str, damage: str) -> None:
    _save(tmp_path, 1, 2)
    DAMAGE[damage](tmp_path / "step-00000002" / file)
    said: list[str] = []
    found = newest_checkpoint(tmp_path, said.append)
    assert found is not None
    assert found.step == 1
    assert len(said) == 1
    assert "step-00000002" in said[0]
    assert said[0].endswith("; trying the one before it.")
    _save(tmp_path, 2)  # its place is free again


@pytest.mark.parametrize("file", [TENSORS, STATE, MANIFEST])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_pinned_one_is_refused_and_those_after_it_stay(tmp_path: Path, file: str, damage: str) -> None:
    _save(tmp_path, 1, 2)
    pin_checkpoint(tmp_path, 1)
    DAMAGE[damage](tmp_path / "step-00000001" / file)
    with pytest.raises(RunError) as refused:
        pinned_checkpoint(tmp_path)
    assert refused.value.where == str(tmp_path / "step-00000001")
    assert (tmp_path / "step-00000002").is_dir()


def test_where_all_are_damaged_the_stage_is_said_to_begin_again(tmp_path: Path) -> None:
    _save(tmp_path, 1, 2)
    for step in (1, 2):
        _flip_a_bit(tmp_path / f"step-{step:08d}" / TENSORS)
    said: list[str] = []
    assert newest_checkpoint(tmp_path, said.append) is None
    assert [text.split("; ")[-1] for text in said] == [
        "trying the one before it.",
        "none is before it, so the stage begins again.",
    ]


class _Killed(BaseException):
    """Nothing catches a kill, and nothing cleans up after it."""


@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_one(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = 0
    while True:
        place = tmp_path / str(kills)
        _save(place, 1)
        with monkeypatch.context() as patch:
            patch.setattr(files.shutil, "rmtree", lambda *args, **kwargs: None)
            patch.setattr(os, call, _dies_after(getattr(os, call), kills))
            try:
                _save(place, 2)
                break
            except _Killed:
                kills += 1
        found = newest_checkpoint(place, print)
        assert found is not None
        assert found.step in (1, 2)
        assert {path.name for path in place.iterdir()} <= {"step-00000001", "step-00000002"}
    assert kills > 0


def _dies_after(call: Callable[..., Any], times: int) -> Callable[..., Any]:
    left = [times]

    def dying(*args: Any, **kwargs: Any) -> Any:
        if not left[0]:
            raise _Killed
        left[0] -= 1
        return call(*args, **kwargs)

    return dying


def test_a_full_disk_leaves_the_one_before_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(RunError, match=r"no space left on device\. Older checkpoints are untouched"):
        _save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
