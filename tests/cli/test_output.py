"""A run whose output nobody takes any more goes on to its end."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import tiny
from cli.conftest import Command
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from truing.cli.output import DroppingStream, PlainConsole, patient_console
from truing.runs.progress import LineProgress, LiveProgress

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


STEERS = "\x1b]8;;file:///\x07a\x1b[2J\x9b1m\r\u202eb\u2066c"
"""Characters that a terminal obeys, or that reorder what is read"""
SHOWN = "⟨U+001B⟩]8;;file:///⟨U+0007⟩a⟨U+001B⟩[2J⟨U+009B⟩1m⟨U+000D⟩⟨U+202E⟩b⟨U+2066⟩c"
MARKUP = "[link=file:///]x[/link] [red]y[/] :bomb:"
HOSTILE = STEERS + MARKUP
RICH = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Its own colours and cursor moves"""


@pytest.mark.parametrize("shape", ["text", "rich text", "cell", "panel", "note", "line", "bar"])
def test_a_terminal_is_not_steered(shape: str) -> None:
    stream = io.StringIO()
    console = PlainConsole(stream, force_terminal=True, width=400, _environ={})
    if shape in ("note", "line", "bar"):
        progress = (LineProgress if shape == "line" else LiveProgress)(console)
        with progress.stage(HOSTILE if shape == "bar" else "sft", 2):
            progress.note(HOSTILE if shape != "bar" else "")
    else:
        table = Table("stage", box=None)
        table.add_row(HOSTILE)
        panel = Panel(Text("x"), title=Text(HOSTILE))
        console.print({"text": HOSTILE, "rich text": Text(HOSTILE), "cell": table, "panel": panel}[shape])
    written = RICH.sub("", stream.getvalue())
    whole = SHOWN + MARKUP if shape in ("text", "cell", "note", "line") else "a⟨U+001B⟩[2J⟨U+009B⟩1m"
    assert whole in written  # of its own kind of text rich drops a bell and a return, and what the width was not for
    assert not {"\x1b", "\x9b", "\x07", "\u202e", "\u2066"} & set(written)


def test_a_traceback_steers_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "truing", "report", str(tmp_path / STEERS.replace("/", "_")), "--debug"]
    said = subprocess.run(command, capture_output=True, check=False)
    assert said.returncode == 1
    assert SHOWN.replace("/", "_") in said.stderr.decode()
    assert not {b"\x1b", b"\xc2\x9b", b"\x07"} & {bytes([byte]) for byte in said.stderr}


def test_errors_remarks_and_paths_steer_nothing(truing: Command, tmp_path: Path) -> None:
    place = tmp_path / HOSTILE.replace("/", "_")
    shown = (SHOWN + MARKUP).replace("/", "_")
    for command in ("report", "chat", "validate"):
        assert shown in truing(command, place).err
    place.mkdir()
    rows = tiny.write_rows(place / "a\nb.jsonl", [{"prompt": "a", "completion": HOSTILE}] * 3 + [{"prompt": HOSTILE}])
    recipe = tiny.recipe_file(tmp_path, stages=["sft"])
    said = truing("validate", recipe, "--set", f"data.demonstrations.path={json.dumps(str(rows))}")
    assert f"{shown}/a⟨U+000A⟩b.jsonl:4:" in said.err
    assert not {"\x1b", "\x9b", "\r", "\u202e"} & set(said.out + said.err)
