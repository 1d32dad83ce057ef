"""Memory that was freed goes back to the system."""

import sys

import pytest
import torch

from truing.runs.memory import release_memory, resident

MEGABYTE = 2**20


def test_what_a_process_takes_grows_by_what_it_holds() -> None:
    release_memory()  # of what other tests have freed, it would take nothing from the system
    before = resident()
    held = torch.ones(64 * MEGABYTE // 4)
    assert resident() - before == pytest.approx(held.nbytes, rel=0.1)


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
