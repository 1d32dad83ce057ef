import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from truing.core.errors import RunError, TrainingError
from truing.runs.files import (
    complete_directory,
    disk_faults,
    read_json,
    refuse_no_directory,
    sha256_file,
    sweep,
    write_json,
    write_jsonl,
    write_text,
)


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def test_json_reads_back_equal(tmp_path: Path) -> None:
    value = {"a": [1, 0.1, True, None], "b": {"ä": "line\nend \u2028 \ud800"}, "c": 1e-320}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert names(tmp_path) == {"x.json"}


def test_rows_are_a_line_each_as_they_are_read_elsewhere(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", ({"a": text} for text in ("ä", "line\nend", "\ud800")))
    assert (tmp_path / "x.jsonl").read_bytes() == '{"a": "ä"}\n{"a": "line\\nend"}\n{"a": "\\ud800"}\n'.encode()


def test_a_full_disk_is_told_as_that_by_whatever_library_met_it(tmp_path: Path) -> None:
    """The library of tokenizers raises an Exception of no class of its own, and a vocabulary is what is saved last."""
    words = Tokenizer(models.BPE())
    with (
        pytest.raises(RunError, match=r"model: cannot be written: no such file or directory\."),
        disk_faults(tmp_path / "model", "cannot be written"),
    ):
        words.save(str(tmp_path / "nowhere" / "tokenizer.json"))
    with pytest.raises(KeyError), disk_faults(tmp_path, "cannot be written"):
        raise KeyError("os error 28")
    with pytest.raises(Exception, match=r"^another$"), disk_faults(tmp_path, "cannot be written"):
        raise Exception("another")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_refused_write_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(RunError, match=r"x\.txt: cannot be written: no space left on device\."):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == {"x.txt"}


CRASH = """
import os, sys
from pathlib import Path
from truing.runs.files import complete_directory, write_text
call, kind, place = sys.argv[1:]
passed = getattr(os, call)
def crash(*arguments):
    os._exit(9)
setattr(os, call, crash)
if kind == "file":
    write_text(Path(place), "new")
else:
    with complete_directory(Path(place)) as made:
        (made / "weights").write_text("w")
"""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_crash_leaves_the_old_file_whole_and_the_sweep_clears_up(tmp_path: Path, call: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    assert subprocess.run([sys.executable, "-c", CRASH, call, "file", str(path)]).returncode == 9
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2
    sweep(tmp_path)
    assert names(tmp_path) == {"x.txt"}


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_crash_leaves_no_half_directory(tmp_path: Path, call: str) -> None:
    assert subprocess.run([sys.executable, "-c", CRASH, call, "dir", str(tmp_path / "model")]).returncode == 9
    assert not (tmp_path / "model").exists()
    sweep(tmp_path)
    assert names(tmp_path) == set()


def test_the_sweep_takes_nothing_of_the_users(tmp_path: Path) -> None:
    for name in (".env", "film.partial", ".film.partial", "x.truing-partial"):
        (tmp_path / name).write_text("mine")
    before = names(tmp_path)
    sweep(tmp_path)
    assert names(tmp_path) == before


def half_written(directory: Path) -> None:
    (directory / "config.json").write_text("{}")
    raise ValueError("the saver's own trouble")


def test_a_directory_is_complete_or_absent(tmp_path: Path) -> None:
    final = tmp_path / "stage" / "model"
    with pytest.raises(ValueError, match="own trouble"), complete_directory(final) as made:
        half_written(made)
    assert names(final.parent) == set()
    with complete_directory(final) as made:
        (made / "deep").mkdir()
        (made / "deep" / "weights").write_text("w")
        assert not final.exists()
    assert (final / "deep" / "weights").read_text() == "w"
    with pytest.raises(RunError, check=lambda error: error.code == "run/exists"), complete_directory(final):
        pass
    assert names(final.parent) == {"model"}


def test_no_directory_is_put_in_the_place_of_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(tmp_path / "nowhere")
    with (
        pytest.raises(RunError, check=lambda error: error.code == "run/exists"),
        complete_directory(tmp_path / "model") as made,
    ):
        made.touch()
    assert names(tmp_path) == {"model"}


def test_where_this_user_may_not_write_no_directory_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(os, "access", lambda place, _: asked.append(place))  # the super-user may write anywhere
    with pytest.raises(RunError, match="nothing can be written there"):
        refuse_no_directory(tmp_path / "runs" / "mine")
    assert asked == [tmp_path]


@pytest.mark.parametrize("refused", ["mkdir", "fsync", "rename", "the block"])
def test_what_the_disk_refuses_of_a_directory_is_told_with_the_hint(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def save() -> None:
        with complete_directory(tmp_path / "model", "cannot be copied", "Make room.") as made:
            (made / "config").write_text("c")
            if refused == "the block":
                refuse()

    if refused != "the block":
        monkeypatch.setattr(os, refused, refuse)
    with pytest.raises(RunError, match=r"model: cannot be copied: no space left on device\. Make room\.$"):
        save()
    assert names(tmp_path) == set()


def test_data_reaches_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and directory is forced to disk before the rename, and the rename itself after it."""
    events: list[str] = []
    sync, rename = os.fsync, os.rename

    def named_sync(descriptor: int) -> None:
        events.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    def named_rename(source: Path, target: Path) -> None:
        events.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", named_sync)
    monkeypatch.setattr(os, "rename", named_rename)
    with complete_directory(tmp_path / "model") as made:
        (made / "deep").mkdir()
        (made / "deep" / "weights").write_text("w")
        (made / "config").write_text("c")
    before, after = events[: events.index("rename")], events[events.index("rename") + 1 :]
    assert {"weights", "deep", "config"} <= set(before)
    assert before.index("weights") < before.index("deep")
    assert before[-1].startswith(".model.")
    assert after == [tmp_path.name]


def test_numbers_that_are_not_finite_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"calibration\.1\.accuracy is nan"):
        write_json(tmp_path / "r.json", {"calibration": [{"accuracy": 0.5}, {"accuracy": float("nan")}]})
    assert names(tmp_path) == set()


@pytest.mark.parametrize("value", [np.float64(0.5), np.float32(0.5), np.int64(1), {1: "a"}, {"a": {1, 2}}, Path("a")])
def test_only_plain_values_are_written(tmp_path: Path, value: object) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "r.json", {"key": value})
    assert names(tmp_path) == set()


def test_broken_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(b'{"a": \xff')
    with pytest.raises(RunError, check=lambda error: error.code == "run/not-json"):
        read_json(tmp_path / "r.json")
    with pytest.raises(RunError, match=r"none\.json: cannot be read: no such file"):
        read_json(tmp_path / "none.json")


def test_sha256(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "big").write_bytes(content)
    assert sha256_file(tmp_path / "big") == hashlib.sha256(content).hexdigest()
