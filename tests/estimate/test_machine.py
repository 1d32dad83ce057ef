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
    monkeypatch.setattr(machine, "measured_products", lambda _: Products(64, None, 8, 1))
    assert facts()["oneDNN"] == (
        "computes float32 products of weights of about 16,384 numbers with 64 rows or more (8 rows or more where they "
        "are packed), and of about 1,048,576 or more with no rows (any rows where they are packed); PyTorch's own "
        "library computes the others (measured here)"
    )


def test_where_nothing_can_be_kept_the_usual_choice_is_said_to_be_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUING_CACHE", "")
    told = facts()["oneDNN"]
    assert told.startswith("computes float32 products of weights of about 16,384 numbers with 64 rows or more (64 ")
    assert told.endswith("(the usual choice, not measured here)")
