"""The processor of this machine and its cores, found without importing a library for models."""

import os
import platform
from pathlib import Path

FEATURES = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
"""Of a processor: those that decide which kernels of PyTorch run, and so in which order they add up"""

LIMITS = ("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Of the environment: variables that hold a library's kernels to fewer features than there are"""


THREADS = "OMP_NUM_THREADS"
"""Of the environment: how many PyTorch computes with"""


def processor() -> str:
    """Its name and its features, and what holds kernels to fewer."""
    said: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            said.setdefault(name.strip(), value.strip())
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    there = said.get("flags", said.get("Features", "")).split()
    features = [feature for feature in FEATURES if feature in there]
    name = said.get("model name", platform.machine())
    return "; ".join([f"{name}: {' '.join(features) or 'features unknown'}", *limits()])


def cores() -> int:
    """Those that this process may use: a batch system or a container may leave it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_of_each(processes: int) -> int:
    """Threads of each of so many that work side by side: their share of the cores, or what the environment says."""
    said = os.environ.get(THREADS, "")
    return int(said) if said.isdecimal() else max(1, cores() // processes)


def limits() -> list[str]:
    """Which of `LIMITS` are set, and to what."""
    return [f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name)]
