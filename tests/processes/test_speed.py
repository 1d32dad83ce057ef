"""How fast processes speak to each other here is found by having some do so."""

import multiprocessing
import time

import pytest

from truing.processes import speed
from truing.processes.speed import measured_speed

pytestmark = pytest.mark.long


def test_processes_that_speak_are_timed_and_leave_nobody_behind() -> None:
    multiprocessing.get_context("forkserver").set_forkserver_preload([speed.__name__])
    found = measured_speed(2, threads=1)
    assert found is not None
    assert 1e-6 < found.message < 1
    assert 1e6 < found.link < 1e12
    assert 1 <= found.slowdown < 100
    assert multiprocessing.active_children() == []


def test_those_that_do_not_come_to_speak_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PATIENCE", 0.0)
    begun = time.monotonic()
    assert measured_speed(2, threads=1) is None
    assert time.monotonic() - begun < 30
    assert multiprocessing.active_children() == []
