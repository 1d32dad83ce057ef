"""An environment for each peer, since no two releases of TRL fit into one. They live in the cache, never here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUIET = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
"""One thread, so that sums are taken in one order; nothing from the network."""


def environment(name: str, cache: Path) -> Path:
    """The Python of the environment that `requirements-NAME.txt` describes, built where it is not there yet."""
    requirements, home = HERE / f"requirements-{name}.txt", cache / name
    stamp = home / "installed.txt"
    wanted = requirements.read_text(encoding="utf-8")
    python = home / "bin" / "python"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"{name}: installing into {home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", requirements], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def run_peer(python: Path, script: str, material: Path, out: Path) -> None:
    """Runs a peer's script with its Python. What the libraries say is kept in a log; RuntimeError where it fails."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    log = out.with_name(f"{out.name}.log")
    with log.open("w", encoding="utf-8") as words:
        command = [python, HERE / script, material, out]
        done = subprocess.run(command, env=os.environ | QUIET, stdout=words, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"{script} failed; its last words: {log.read_text(encoding='utf-8')[-2000:]}")
