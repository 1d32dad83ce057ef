"""What the disk refuses is told as that, the last good checkpoint stays, and the run goes on once it does not."""

import errno
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from faults.killed import left_behind
from forked import BARE, zygote

from truing.config.recipe import Recipe
from truing.core.errors import RunError
from truing.pipeline.execute import run_pipeline
from truing.runs import checkpoints, files, metrics
from truing.runs.progress import SilentProgress

pytestmark = pytest.mark.long

SAVING = {"stages": ["sft"], "checkpoints.every_steps": 1}


def run(recipe: Recipe, root: Path) -> Path:
    return run_pipeline(recipe, root, SilentProgress()).root


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny.recipe(tmp_path_factory.mktemp("recipe"), **SAVING)


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return left_behind(run(recipe, tmp_path_factory.mktemp("undisturbed") / "run"))


def _failing(call: Callable[..., Any], number: int, after: int) -> Callable[..., Any]:
    """The same, but for the n-th call and every later one the operating system refuses."""
    left = [after]

    def called(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(number, os.strerror(number))
        return call(*args, **kwargs)

    return called


REFUSALS = {
    "a sync": (os, "fsync"),
    "a rename of a file": (os, "replace"),
    "a rename of a directory": (os, "rename"),
    "the tensors": (checkpoints, "save_file"),
}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
@pytest.mark.parametrize("refused", REFUSALS)
def test_a_refused_call_ends_the_run_and_what_was_saved_goes_on(
    recipe: Recipe,
    undisturbed: dict[str, str],
    refused: str,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, name = REFUSALS[refused]
    after = {"a sync": 30, "a rename of a file": 6, "a rename of a directory": 2}.get(refused, 1)
    with monkeypatch.context() as patch:
        patch.setattr(place, name, _failing(getattr(place, name), number, after))
        with pytest.raises(RunError, match=re.escape(os.strerror(number).lower())):
            run(recipe, tmp_path / "run")
    saved = list((tmp_path / "run" / "sft" / "checkpoints").glob("step-*"))
    assert saved
    assert left_behind(run(recipe, tmp_path / "run")) == undisturbed


def test_a_log_that_is_refused_half_way_through_a_line_is_cut_back(
    recipe: Recipe, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Filling:
        """A file on a disk with room for so many bytes."""

        room = 400

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._file = open(*args, **kwargs)  # noqa: SIM115

        def write(self, line: bytes) -> int:
            written = self._file.write(line[: Filling.room])
            Filling.room -= written
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return int(written)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    with monkeypatch.context() as patch:
        patch.setattr(metrics, "open", Filling, raising=False)
        with pytest.raises(RunError, match=r"metrics\.jsonl: cannot be written: no space left on device\."):
            run(recipe, tmp_path / "run")
    assert (tmp_path / "run" / "sft" / "metrics.jsonl").stat().st_size == 400
    assert left_behind(run(recipe, tmp_path / "run")) == undisturbed


UNREHEARSED = """
import resource
import signal
import sys
from pathlib import Path

from truing.config import load_recipe
from truing.core.errors import RunError
from truing.pipeline.execute import run_pipeline
from truing.runs.progress import SilentProgress

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    run_pipeline(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), SilentProgress())
except RunError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
"""A run whose rehearsal does not meet the quota first: no file may grow beyond so many bytes"""


def test_a_quota_on_the_size_of_files_is_told_by_the_file(tmp_path: Path) -> None:
    """The operating system itself refuses here, in the middle of a file of tensors."""
    file = tiny.recipe_file(tmp_path / "recipe", **SAVING | {"roles": "separate", "sft.method": "full"})
    script, told = tmp_path / "unrehearsed.py", tmp_path / "told"
    script.write_text(UNREHEARSED)
    assert zygote().start([str(file), str(tmp_path / "run")], told, script=script).wait() == 2
    assert re.search(r"step-00000001: cannot be written: file too large\.", told.read_text())
    assert list((tmp_path / "run" / "sft" / "checkpoints").iterdir()) == []


def _can_mount() -> bool:
    trial = ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(trial, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not _can_mount(), reason="this system lets no user mount a disk of their own")
def test_a_disk_that_fills_up_ends_the_run_and_once_there_is_room_it_goes_on(tmp_path: Path) -> None:
    more = {"sft.epochs": 20}
    file = tiny.recipe_file(tmp_path / "recipe", **SAVING | more)
    (tmp_path / "disk").mkdir()
    script, printed, told = Path(__file__).with_name("full_disk.py"), tmp_path / "printed", tmp_path / "told"
    arguments = [str(file), str(tmp_path / "disk"), str(tmp_path / "copy")]
    done = zygote().start(arguments, printed, errors=told, script=script, without=BARE)
    assert done.wait() == 0, told.read_text()
    ends = json.loads(printed.read_text())
    assert (ends["code"], ends["again"]) == (2, 0), ends
    assert "no space left on device" in ends["said"]
    assert ends["kept"] > 0
    run(tiny.recipe(tmp_path / "recipe", **SAVING | more), tmp_path / "own")
    ours, theirs = left_behind(tmp_path / "copy"), left_behind(tmp_path / "own")
    assert {name: ours[name] for name in ours if "model" in name} == {n: theirs[n] for n in theirs if "model" in n}
    assert ours["sft/metrics.jsonl"] == theirs["sft/metrics.jsonl"]


def test_a_directory_that_cannot_be_written_to_is_told(recipe: Recipe, tmp_path: Path, monkeypatch: Any) -> None:
    """As an account without privileges meets it; the one that runs a test may be allowed everything."""
    (tmp_path / "shut").mkdir()
    if os.geteuid() == 0:
        refusal = OSError(errno.EACCES, os.strerror(errno.EACCES))
        monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(refusal))
    (tmp_path / "shut").chmod(0o500)
    with pytest.raises(RunError, match=r"run: cannot be used: permission denied\."):
        run(recipe, tmp_path / "shut" / "run")


def test_a_checkpoint_that_reads_back_otherwise_is_told_and_the_one_before_stays(
    recipe: Recipe, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that says yes and writes something else."""
    right, saves = files.sha256_file, [0]

    def rotten(path: Path) -> str:
        saves[0] += 1
        return right(path) if saves[0] < 10 else "0" * saves[0]

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "sha256_file", rotten)
        with pytest.raises(RunError, match=r"was written and is damaged: .* Check the disk\."):
            run(recipe, tmp_path / "run")
    assert left_behind(run(recipe, tmp_path / "run")) == undisturbed
