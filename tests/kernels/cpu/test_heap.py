"""What is freed stays with the process for what follows, or goes back to the system, as told."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
from truing.kernels.cpu import heap

heap.{told}()
for turn in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [b"x" * 2**22 for _ in range(16)]
    del blocks
    if turn:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 16 * 2**22 // 4096


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked")
@pytest.mark.parametrize(
    ("told", "least", "most"), [("keep_freed_blocks", 0, 0.01), ("give_back_large_blocks", 0.9, 1.2)]
)
def test_blocks_that_are_freed_and_made_again_are_taken_from_the_system_once_or_each_time(
    told: str, least: float, most: float
) -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS.format(told=told)], capture_output=True, text=True, check=True)
    for faults in map(int, done.stdout.split()):
        assert least * PAGES <= faults <= most * PAGES
