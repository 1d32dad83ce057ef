"""What the machine has: memory, cores, libraries, optional extras."""

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

import torch

from truing import __version__
from truing.config.sections import Compute
from truing.kernels.cpu.linear import suits
from truing.kernels.cpu.products import LARGE, SMALL, USUAL
from truing.models.device import device_of, gpu_memory, unused_gpu
from truing.pipeline.products import measured_products

REQUIREMENT = re.compile(r"(?P<package>[\w.-]+).*extra == ['\"](?P<extra>\w+)['\"]")


def extras() -> dict[str, list[str]]:
    """Each optional extra and those of its packages that are not installed."""
    found: dict[str, list[str]] = {}
    for requirement in metadata.requires("truing") or []:
        said = REQUIREMENT.match(requirement)
        if said and said["extra"] != "test":
            missing = found.setdefault(said["extra"], [])
            missing += [] if _installed(said["package"]) else [said["package"]]
    return found


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def facts() -> dict[str, str]:
    """What a run would find here, in words."""
    device = device_of(Compute())
    said = {
        "truing": f"{__version__}, Python {platform.python_version()}, {sys.platform}",
        "libraries": ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "peft")),
        "device": "; ".join([f"{device}, {in_words(memory_of(device))}", *unused_gpu(Compute())]),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
        "oneDNN": _one_dnn(),
    }
    absent = {
        f"extra {name}": f"missing: {', '.join(packages)}" if packages else "there"
        for name, packages in extras().items()
    }
    return said | absent


def _one_dnn() -> str:
    """Which float32 products oneDNN computes here."""
    if not suits(torch.empty(LARGE, device="meta")):
        return "not there, so products are PyTorch's"
    measured = measured_products(torch.get_num_threads())
    found, how = measured or USUAL, "measured here" if measured else "the usual choice, not measured here"
    small, large = (
        f"{_rows(as_it_lies)} ({_rows(packed)} where they are packed)"
        for as_it_lies, packed in ((found.small, found.small_packed), (found.large, found.large_packed))
    )
    return (
        f"computes float32 products of weights of about {SMALL:,} numbers with {small}, and of about {LARGE:,} or more "
        f"with {large}; PyTorch's own library computes the others ({how})"
    )


def _rows(least: int | None) -> str:
    """From how many on."""
    if least is None:
        return "no rows"
    return f"{least} rows or more" if least > 1 else "any rows"


def in_words(size: float | None) -> str:
    """Bytes for people."""
    if size is None:
        return "an unknown amount of memory"
    if size == float("inf"):
        return "more than there is"
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def memory_of(device: torch.device) -> int | None:
    """Bytes that are there for a run, on the device; None where that cannot be told."""
    if device.type == "cuda":
        return gpu_memory(device)
    limits = [limit for limit in (_physical(), _granted()) if limit]
    return min(limits) if device.type == "cpu" and limits else None


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _granted() -> int | None:
    """What a container may take."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
