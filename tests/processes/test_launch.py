"""What becomes of the processes that were started together when one of them has ended badly."""

import signal
import subprocess
import sys

import pytest

from truing.processes import launch

READY = "print('ready', flush=True)"
BUSY = f"""
import signal, sys, time
def save(*_):
    time.sleep(1)
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
{READY}
time.sleep(60)
"""


def _started(program: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_an_owner_that_is_busy_is_asked_to_end_and_has_the_time_to_save(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "ALONE_SECONDS", 0.2)
    with _started(BUSY) as owner, _started(f"{READY}; raise SystemExit(3)") as other:
        assert launch._wait_for_all([owner, other], []) == 1
        assert owner.stdout is not None
        assert owner.stdout.read() == b"saved\n"
        assert launch._verdict([owner.wait(), other.wait()], 1, []) == (3, None)


def test_of_several_that_have_ended_the_one_that_was_killed_is_the_first() -> None:
    """The owner notices that another is gone, and may have ended before anybody looks."""
    with _started(f"{READY}; raise SystemExit(70)") as owner, _started(BUSY) as killed:
        killed.kill()
        killed.wait()
        owner.wait()
        assert launch._wait_for_all([owner, killed], []) == 1
        assert launch._wait_for_all([owner], []) == 0


@pytest.mark.parametrize(
    ("codes", "first", "passed_on", "verdict"),
    [
        ([0, 0], None, [], (0, None)),
        ([0, 0], None, [signal.SIGTERM], (0, None)),
        ([1, 2], 1, [], (2, None)),
        ([1, -9], 1, [], (1, "process 1 was ended by SIGKILL")),
        ([-15, -15], 0, [signal.SIGTERM], (143, None)),
        ([70, -9], 1, [], (1, "process 1 was ended by SIGKILL")),
        ([70, 143], 1, [], (143, "another process of this run is gone")),
        ([70, 1], 0, [], (1, "another process of this run is gone")),
    ],
)
def test_the_exit_code_is_that_of_the_first_fault_or_of_the_signal(
    codes: list[int], first: int | None, passed_on: list[int], verdict: tuple[int, str | None]
) -> None:
    assert launch._verdict(codes, first, passed_on) == verdict
