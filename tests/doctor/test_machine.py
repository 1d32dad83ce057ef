"""What the machine has and does, and what follows for a piece of work."""

import tiny
import torch

from truing.doctor.machine import MANY, Speed, extras, measure, memory_of
from truing.doctor.phase import Work
from truing.doctor.shadow import Shadow
from truing.doctor.tally import Cost
from truing.recipe import Compute, Lora


def test_work_takes_its_products_its_bytes_and_its_calls() -> None:
    speed = Speed({8: 10.0, MANY: 100.0}, bandwidth=50.0, call=0.5)
    cost = Cost(operations=1000.0, moved=100.0, calls=4.0)
    assert speed.seconds(Work(cost, rows=8)) == 100 + 2 + 2
    assert speed.seconds(Work(cost, rows=MANY)) == 10 + 2 + 2
    assert speed.seconds(Work(cost, rows=3)) == 100 + 2 + 2


def test_speed_is_measured_at_few_rows_and_many() -> None:
    shadow = Shadow(tiny.model().to("meta"), Lora(), cpu=True)
    before = torch.get_num_threads()
    speed = measure(shadow, Compute(threads=1), few=4)
    assert torch.get_num_threads() == before
    assert set(speed.rates) == {4, MANY}
    assert all(rate > 0 for rate in [*speed.rates.values(), speed.bandwidth])
    assert 0 < speed.call < 1e-2


def test_extras_are_those_of_the_package_without_its_tests() -> None:
    assert {"gguf", "label", "track", "vllm", "quant"} <= set(extras())
    assert "test" not in extras()
    assert extras()["gguf"] == []  # the tests' environment has it


def test_the_memory_of_a_cpu_is_known_and_of_others_without_one_is_not() -> None:
    assert (memory_of(torch.device("cpu")) or 0) > 10**8
    assert memory_of(torch.device("meta")) is None
