"""An environment for each peer, since no two releases of TRL fit into one. They live in the cache, never here."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUIET = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
"""Nothing from the network, no advice."""


def default_cache() -> Path:
    """Where the environments of all benchmarks are, once for all of them."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "truing" / "benchmarks"


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


def run_logged(command: list[str | Path], log: Path, threads: int) -> None:
    """Runs a child with so many threads, which finds the harness as its parent does.

    What its libraries say is kept in `log`; RuntimeError where it fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    settings = os.environ | QUIET | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    with log.open("w", encoding="utf-8") as words:
        done = subprocess.run(command, env=settings, stdout=words, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"{command[1]} failed; its last words: {log.read_text(encoding='utf-8')[-2000:]}")
