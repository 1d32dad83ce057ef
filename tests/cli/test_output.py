"""A run whose output nobody takes any more goes on to its end."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import tiny

from truing.cli.output import DroppingStream, patient_console

FULL = Path("/dev/full")


@pytest.fixture(params=["a reader who has left", "a full disk"])
def refused(request: pytest.FixtureRequest) -> Iterator[IO[str]]:
    """A stream that the system refuses to write."""
    if request.param == "a full disk":
        if not FULL.exists():
            pytest.skip("no /dev/full here")
        stream = open(FULL, "w")  # noqa: SIM115
    else:
        reading, writing = os.pipe()
        os.close(reading)
        stream = open(writing, "w")  # noqa: SIM115
    with stream:  # which flushes what is left, as Python does at exit
        yield stream


def test_what_is_refused_is_dropped_and_so_is_the_rest(refused: IO[str]) -> None:
    output = DroppingStream(refused)
    for _ in range(3):
        assert output.write("x" * 100_000) == 100_000
        output.flush()


def test_what_is_taken_is_written(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w", encoding="utf-8") as stream:
        output = DroppingStream(stream)
        output.write("ä\n")
        output.flush()
        assert (output.isatty(), output.encoding) == (False, "utf-8")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "ä\n"


def test_no_standard_output_at_all_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    patient_console().print("nobody hears")


def test_an_error_that_nobody_hears_keeps_its_exit_code(refused: IO[str]) -> None:
    command = [sys.executable, "-m", "truing", "run", "no-such-recipe"]
    assert subprocess.run(command, stdout=refused, stderr=refused, check=False).returncode == 2


def test_a_run_goes_on_without_its_reader(tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path, stages=["sft"])
    command = [sys.executable, "-m", "truing", "run", str(recipe), "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(timeout=120), process.stderr.read()) == (0, "")
    assert (tmp_path / "run" / "report.html").exists()
