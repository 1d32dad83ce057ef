"""What the machine has and does, and what follows for a piece of work."""

import torch

from truing.estimate.machine import extras, memory_of


def test_extras_are_those_of_the_package_without_its_tests() -> None:
    assert {"gguf", "track", "quant"} <= set(extras())
    assert "test" not in extras()
    assert extras()["gguf"] == []  # the tests' environment has it


def test_the_memory_of_a_cpu_is_known_and_of_others_without_one_is_not() -> None:
    assert (memory_of(torch.device("cpu")) or 0) > 10**8
    assert memory_of(torch.device("meta")) is None
