"""What the machine has: memory, cores, and how fast it multiplies and moves."""

import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

from truing import __version__
from truing.doctor.phase import Work
from truing.doctor.shadow import Shadow
from truing.models.base import device_of
from truing.models.linear import OneDnnLinear, packed, suits
from truing.recipe import Compute

REQUIREMENT = re.compile(r"(?P<package>[\w.-]+).*extra == ['\"](?P<extra>\w+)['\"]")
READ = 2**26
"""Bytes of weights that a measurement goes through: more than caches hold"""
ADDED = 2**22
"""Bytes of what it adds up: a few hundred tokens' activations"""
MANY = 256
"""Rows of a product that is as fast as it gets"""


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
    one_dnn = "used for float32 products" if suits(torch.empty(1024, 1024)) else "not there, so products are PyTorch's"
    said = {
        "truing": f"{__version__}, Python {platform.python_version()}, {sys.platform}",
        "libraries": ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "peft")),
        "device": f"{device}, {in_words(memory_of(device))}",
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
        "oneDNN": one_dnn,
    }
    absent = {
        f"extra {name}": f"missing: {', '.join(packages)}" if packages else "there"
        for name, packages in extras().items()
    }
    return said | absent


def in_words(size: float | None) -> str:
    """Bytes for people."""
    if size is None:
        return "an unknown amount of memory"
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def memory_of(device: torch.device) -> int | None:
    """Bytes that are there for a run, on the device; None where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
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


@dataclass(frozen=True)
class Speed:
    """Of this machine at a model's shapes, measured in about a second."""

    rates: dict[int, float]
    """Operations a second of products, by the rows that meet the weights at once"""
    bandwidth: float
    """Bytes a second, of everything that is no product"""
    call: float
    """Seconds that Python takes for an operator"""

    def seconds(self, work: Work) -> float:
        """What the work takes, if nothing overlaps."""
        cost = work.cost
        rows = max((known for known in self.rates if known <= work.rows), default=min(self.rates))
        return cost.operations / self.rates[rows] + cost.moved / self.bandwidth + cost.calls * self.call


@torch.no_grad()
def measure(shadow: Shadow, compute: Compute, few: int) -> Speed:
    """The machine's speed at the model's most common shape of product, for `few` rows as in sampling and for many."""
    outputs, inputs = shadow.common
    count = max(1, READ // (4 * outputs * inputs))
    layers = nn.ModuleList(OneDnnLinear(nn.Linear(inputs, outputs, bias=False)) for _ in range(count))
    left, right, small, silu = torch.ones(ADDED // 4), torch.ones(ADDED // 4), torch.ones(1, 16), nn.SiLU()
    with _threads(compute.threads):
        operations = {rows: 2.0 * rows * outputs * inputs * count for rows in (few, MANY)}
        rates = {MANY: operations[MANY] / _best(partial(_through, layers, torch.ones(MANY, inputs)))}
        with packed(layers) if compute.pack_weights else nullcontext():
            rates[few] = operations[few] / _best(partial(_through, layers, torch.ones(few, inputs)))
        out = torch.empty_like(left)
        bandwidth = 3 * ADDED / _best(lambda: torch.add(left, right, out=out))
        call = _best(lambda: [silu(small) for _ in range(100)]) / 100
    return Speed(rates, bandwidth, call)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """As many as the recipe says, inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _through(layers: Iterable[nn.Module], rows: torch.Tensor) -> None:
    for layer in layers:
        layer(rows)


def _best(action: Callable[[], object]) -> float:
    """Seconds, the best of some."""
    laps = []
    for _ in range(4):
        start = time.perf_counter()
        action()
        laps.append(time.perf_counter() - start)
    return min(laps)
