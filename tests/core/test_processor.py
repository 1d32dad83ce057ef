"""A processor by its name and features, on any machine."""

import os
import platform
from pathlib import Path

import pytest

from truing.core.processor import processor, threads_of_each

X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f sse\nprocessor\t: 1\nflags\t: other\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [(X86, "AMD EPYC: avx2 avx512f"), (ARM, f"{platform.machine()}: asimd bf16"), ("", f"{platform.machine()}: fea")],
)
def test_a_processor_has_its_name_and_features(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, **options: text)
    assert processor().startswith(said)


def test_what_holds_kernels_to_fewer_features_makes_it_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, **options: X86)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "")
    assert processor() == "AMD EPYC: avx2 avx512f; ONEDNN_MAX_CPU_ISA=AVX2"


@pytest.mark.parametrize(
    ("may", "said", "processes", "threads"),
    [(8, None, 2, 4), (8, None, 3, 2), (2, None, 4, 1), (8, "3", 2, 3), (8, "", 2, 4)],
)
def test_processes_share_the_cores_that_they_may_use_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, may: int, said: str | None, processes: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(may)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads_of_each(processes) == threads
