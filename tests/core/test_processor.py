"""A processor by its name and features, on any machine."""

import platform
from pathlib import Path

import pytest

from truing.core.processor import processor

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
