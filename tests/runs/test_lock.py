import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from truing.core.errors import RunError
from truing.runs.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from truing.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

FORKING_HOLDER = """
import os, sys, time
from pathlib import Path
from truing.runs.lock import locked
with locked(Path(sys.argv[1])):
    if os.fork() == 0:  # the child speaks, so that it is known to live before its parent is killed
        print(os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""


def start(program: str, path: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_live_process_keeps_others_out_and_a_dead_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    holder, _ = start(HOLDER, path)
    try:
        with (
            pytest.raises(RunError, match=rf"is in use by process {holder.pid}\..*another --out") as caught,
            locked(path),
        ):
            pass
        assert caught.value.exit_code == 2
        assert path.read_text().split() == [str(holder.pid), socket.gethostname()]
    finally:
        kill(holder)
    with locked(path):
        assert path.read_text().split() == [str(os.getpid()), socket.gethostname()]


def test_a_holder_on_another_machine_is_named_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(tmp_path / ".lock"):
        here = socket.gethostname()
        monkeypatch.setattr(socket, "gethostname", lambda: "another")
        with pytest.raises(RunError, match=rf"in use by process {os.getpid()} on {here}\."), locked(tmp_path / ".lock"):
            pass


def test_a_child_left_behind_by_a_killed_holder_does_not_hold_the_lock(tmp_path: Path) -> None:
    holder, child = start(FORKING_HOLDER, tmp_path / ".lock")
    try:
        with pytest.raises(RunError, match=str(holder.pid)), locked(tmp_path / ".lock"):
            pass
        holder.kill()
        holder.wait()
        with locked(tmp_path / ".lock"):
            pass
    finally:
        os.kill(int(child), signal.SIGKILL)
        kill(holder)


def test_a_lock_that_is_let_go_soon_is_waited_for(tmp_path: Path) -> None:
    holder, _ = start(HOLDER, tmp_path / ".lock")
    soon = threading.Timer(0.1, holder.kill)
    soon.start()
    with locked(tmp_path / ".lock"):
        assert holder.wait() == -signal.SIGKILL
    kill(holder)


def test_the_lock_is_let_go_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / ".lock"):
        raise ZeroDivisionError
    with (
        locked(tmp_path / ".lock"),
        pytest.raises(RunError, check=lambda error: error.code == "run/locked"),
        locked(tmp_path / ".lock"),
    ):
        pass


def test_a_place_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(RunError, match=rf"{tmp_path.name}: cannot be locked: is a directory"),
        locked(tmp_path / ".lock"),
    ):
        pass
