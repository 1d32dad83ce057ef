"""The processor of this machine, found without importing a library for models."""

import platform
from pathlib import Path

FEATURES = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
"""Of a processor: those that decide which kernels of PyTorch run, and so in which order they add up"""


def processor() -> str:
    """Its name and its features."""
    said: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            said.setdefault(name.strip(), value.strip())
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    there = said.get("flags", said.get("Features", "")).split()
    features = [feature for feature in FEATURES if feature in there]
    return f"{said.get('model name', platform.machine())}: {' '.join(features) or 'features unknown'}"
