"""What is freed stays with the process for what follows, or goes back to the system, as told."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
from truing.core import heap

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
    ("told", "variables", "least", "most"),
    [
        ("keep_freed_blocks", {}, 0, 0.01),
        ("give_back_large_blocks", {}, 0.9, 1.2),
        ("keep_freed_blocks", {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}, 0.9, 1.2),
        ("keep_freed_blocks", {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"}, 0.9, 1.2),
    ],
    ids=["kept", "given back", "as the variables say", "as the tunables say"],
)
def test_blocks_that_are_freed_and_made_again_are_taken_from_the_system_once_or_each_time(
    told: str, variables: dict[str, str], least: float, most: float
) -> None:
    program = [sys.executable, "-c", FAULTS.format(told=told)]
    done = subprocess.run(program, env=os.environ | variables, capture_output=True, text=True, check=True)
    for faults in map(int, done.stdout.split()):
        assert least * PAGES <= faults <= most * PAGES
