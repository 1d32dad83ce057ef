"""truing --version: what a report of a fault needs, found without importing a library for models."""

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from truing import __version__
from truing.cli.output import say
from truing.core.processor import THREADS, cores, processor

LIBRARIES = ("torch", "transformers", "peft", "datasets", "tokenizers", "safetensors", "numpy", "pydantic")
ON_REQUEST = ("accelerate", "bitsandbytes", "gguf", "scikit-learn", "vllm")
"""Shown where they are installed"""
SETTINGS = (THREADS, "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
"""Of the environment: what a result or its time can depend on"""
SECONDS = 10.0
"""The longest that git or a driver is waited for"""


def version_command() -> None:
    """Prints one screen: the version alone on the first line, for programs, then what else a result can depend on."""
    say(f"truing {__version__}")
    for name, value in facts().items():
        say(f"{name:<10} {value}")


def facts() -> dict[str, str]:
    """Where truing is installed, and what it would compute with, in words."""
    return {
        "installed": f"{Path(__file__).resolve().parents[1]}, {source()}",
        "python": f"{platform.python_version()} ({platform.python_implementation()}) at {sys.executable}",
        "libraries": ", ".join(libraries()),
        "platform": platform.platform(),
        "processor": processor(),
        "threads": threads(),
        "gpu": gpus(),
    }


def source() -> str:
    """The commit that this code is of, where that can be known."""
    root = Path(__file__).resolve().parents[3]
    if (root / ".git").exists():
        described = _printed("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
        return f"a clone at commit {described}" if described else "a clone at an unknown commit"
    try:
        origin = metadata.distribution("truing").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return "a copy that is not installed"
    recorded = json.loads(origin).get("vcs_info", {}).get("commit_id") if origin else None
    return f"from commit {recorded}" if recorded else "from a package"


def libraries() -> list[str]:
    """Name and version of each; those that every run needs are named even where they are missing."""
    found = {name: _version(name) for name in (*LIBRARIES, *ON_REQUEST)}
    return [f"{name} {version or 'missing'}" for name, version in found.items() if version or name in LIBRARIES]


def threads() -> str:
    """Cores that this process may use, and what the environment says of them."""
    said = [f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ]
    return ", ".join([f"{cores()} of {os.cpu_count()} cores", *said])


def gpus() -> str:
    """Each NVIDIA GPU with its memory and driver, as that driver has it."""
    if shutil.which("nvidia-smi") is None:
        return "no NVIDIA driver found"
    query = "--query-gpu=name,memory.total,driver_version"
    told = _printed("nvidia-smi", query, "--format=csv,noheader")
    return "; ".join(told.splitlines()) if told else "nvidia-smi does not answer"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _printed(*command: str) -> str:
    """What a program prints; nothing where it cannot be asked."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
