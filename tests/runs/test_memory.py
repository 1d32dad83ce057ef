"""Memory that was freed goes back to the system."""

import mmap
import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
import torch

from truing.runs.memory import release_memory, resident, resident_files, shared_files

MEGABYTE = 2**20


def test_what_a_process_takes_grows_by_what_it_holds() -> None:
    release_memory()  # of what other tests have freed, it would take nothing from the system
    before = resident()
    held = torch.ones(64 * MEGABYTE // 4)
    assert resident() - before == pytest.approx(held.nbytes, rel=0.1)


READ = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    place = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
place.find(b"1")
print("read", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")
def test_files_that_others_hold_too_are_told_from_those_that_this_process_alone_does(tmp_path: Path) -> None:
    place = tmp_path / "file"
    with place.open("wb") as file:
        file.write(bytes(16 * MEGABYTE))
        os.fsync(file.fileno())  # what is still to be written is no file yet
    before = resident_files(), shared_files()
    with place.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        mapped.find(b"1")
        alone = resident_files(), shared_files()
        with subprocess.Popen([sys.executable, "-c", READ, place], stdin=PIPE, stdout=PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"read\n"
            both = resident_files(), shared_files()
            other.communicate()
    near = {"abs": 2 * MEGABYTE}
    assert (alone[0] - before[0], alone[1] - before[1]) == (
        pytest.approx(16 * MEGABYTE, **near),
        pytest.approx(0, **near),
    )
    assert both[1] - alone[1] == pytest.approx(16 * MEGABYTE, **near)


def test_a_gpu_that_is_used_has_its_memory_given_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[bool] = []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: emptied.append(True))
    release_memory()
    assert emptied == []
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    release_memory()
    assert emptied == [True]


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked")
def test_freed_pieces_between_held_ones_are_given_back() -> None:
    wide = torch.ones(16 * MEGABYTE // 4)
    del wide  # from now on blocks of a megabyte lie in the heap, one behind the other
    pieces = [torch.ones(MEGABYTE // 4) for _ in range(128)]
    kept = pieces[::4]
    full = resident()
    pieces.clear()
    release_memory()
    assert full - resident() > 64 * MEGABYTE
    assert len(kept) == 32
