"""The measurement on a GPU works from one end to the other where there is none, and its page claims nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from gpu.run import COLUMNS, NAMES, PAGE, figure, page

ROOT = Path(__file__).parents[2]
OF_CUDA = {"peak of memory, GB"}
"""What only a GPU tells"""


def test_until_a_gpu_has_run_it_the_page_is_empty_and_says_so() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(NAMES, {}, {}, "")
    assert "No GPU has run this version" in written
    assert not re.findall(r"^\|.*\| *[\d.]+ *\|$", written, flags=re.M)


def test_what_was_measured_stands_in_its_cell_and_nothing_is_said_of_the_rest() -> None:
    filled = page(["one", "other"], {"gigabytes": 4300.4}, {"one": {"learn_mfu": 0.415}}, "On a GPU.")
    assert "| copy, GB/s |  | 4,300 |" in filled
    assert "| learning: operations of products over the ceiling | ≥ 20 / 40 / 50% | 42% |  |" in filled
    assert "No GPU" not in filled
    assert figure({}, "update_s") == ""


@pytest.mark.slow
def test_it_runs_on_a_cpu_with_tiny_shapes(tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    command = [sys.executable, "benchmarks/gpu/run.py", "--device", "cpu", "--tiny", "--page", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    written = target.read_text(encoding="utf-8")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Failed" not in written
    cells = dict(re.findall(r"^\| ([^|]+?) \|[^|]*\| ([^|]*?) *\|$", written, flags=re.M))
    assert all(cells[words] for words, *_ in COLUMNS if words not in OF_CUDA), cells
    assert cells["deterministic: a run that was stopped ends with the same bytes"] == "yes"
