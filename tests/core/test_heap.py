"""What is freed stays with the process for what follows, or goes back to the system, as told."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
from truing.core import heap

heap.{told}
for turn in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [b"x" * {size} for _ in range({blocks})]
    del blocks
    if turn:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
SOME, MANY, MOST = (16, 2**22), (48, 2**22), (96, 2**24)
"""How many blocks of how many bytes: 64 MB, 192 MB and 1.6 GB"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked")
@pytest.mark.parametrize(
    ("told", "blocks", "variables", "least", "most"),
    [
        ("keep_freed_blocks()", SOME, {}, 0, 0.01),
        ("keep_freed_blocks()", MANY, {}, 0.5, 1.2),
        ("keep_all_freed_blocks()", MANY, {}, 0, 0.01),
        ("keep_all_freed_blocks()", MOST, {}, 0, 0.01),
        ("keep_all_freed_blocks(); heap.keep_some_freed_blocks()", MANY, {}, 0.5, 1.2),
        ("keep_some_freed_blocks()", SOME, {}, 0.9, 1.2),
        ("give_back_large_blocks()", SOME, {}, 0.9, 1.2),
        ("keep_all_freed_blocks()", SOME, {"MALLOC_MMAP_THRESHOLD_": "65536"}, 0.9, 1.2),
        ("keep_freed_blocks()", SOME, {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}, 0.9, 1.2),
        ("keep_freed_blocks()", SOME, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"}, 0.9, 1.2),
    ],
    ids=[
        "kept",
        "too many to be kept",
        "all kept",
        "very many kept",
        "some kept after all",
        "never told to keep all",
        "given back",
        "as one variable says",
        "as the variables say",
        "as the tunables say",
    ],
)
def test_blocks_that_are_freed_and_made_again_are_taken_from_the_system_once_or_each_time(
    told: str, blocks: tuple[int, int], variables: dict[str, str], least: float, most: float
) -> None:
    count, size = blocks
    program = [sys.executable, "-c", FAULTS.format(told=told, blocks=count, size=size)]
    done = subprocess.run(program, env=os.environ | variables, capture_output=True, text=True, check=True)
    pages = count * size // 4096
    for faults in map(int, done.stdout.split()):
        assert least * pages <= faults <= most * pages
