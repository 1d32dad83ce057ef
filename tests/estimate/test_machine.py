"""What the machine has and does, and what follows for a piece of work."""

import pytest
import torch

from truing.estimate import machine
from truing.estimate.machine import extras, facts, memory_of
from truing.kernels.cpu.products import Products


def test_extras_are_those_of_the_package_without_its_tests() -> None:
    assert {"gguf", "track", "quant"} <= set(extras())
    assert "test" not in extras()
    assert extras()["gguf"] == []  # the tests' environment has it


def test_the_memory_of_a_cpu_is_known_and_of_others_without_one_is_not() -> None:
    assert (memory_of(torch.device("cpu")) or 0) > 10**8
    assert memory_of(torch.device("meta")) is None


def test_what_one_dnn_computes_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "products_of_machine", lambda _: Products(64, None, 8, 1))
    assert facts()["oneDNN"] == (
        "computes float32 products of small weights with 64 rows or more (8 rows or more where weights are packed), "
        "of large ones with no rows (any rows where weights are packed)"
    )
