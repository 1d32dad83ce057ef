"""The yardstick of the parity benchmark; the benchmark itself needs TRL's environments."""

import importlib.util
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parents[2] / "benchmarks" / "parity" / "compare.py"


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("parity_compare", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(loss: float, **gradients: list[float]) -> dict[str, torch.Tensor]:
    return {"loss": torch.tensor(loss)} | {name: torch.tensor(values) for name, values in gradients.items()}


def test_the_furthest_entry_of_any_parameter_counts(compare):
    gap = compare.gap(measured(1.0, a=[2.0, -4.0], b=[0.5]), measured(0.75, a=[2.0, -4.0], b=[0.0]))
    assert (gap.loss, gap.gradient, gap.relative) == (0.25, 0.5, 0.125)
    assert not gap.closed


@pytest.mark.parametrize(
    ("loss", "gradient", "closed"), [(1.0, 4.0, True), (1.001, 4.0, False), (1.0, 4.001, False), (1.0, -4.0, False)]
)
def test_loss_and_gradient_both_have_to_agree(compare, loss: float, gradient: float, closed: bool):
    assert compare.gap(measured(1.0, a=[4.0]), measured(loss, a=[gradient])).closed is closed


def test_small_gradients_have_to_agree_in_proportion(compare):
    assert not compare.gap(measured(1.0, a=[1e-6]), measured(1.0, a=[2e-6])).closed


def test_a_parameter_that_one_side_lacks_is_no_agreement(compare):
    with pytest.raises(ValueError, match=r"\['b'\]"):
        compare.gap(measured(1.0, a=[1.0]), measured(1.0, a=[1.0], b=[0.0]))


def test_what_is_not_a_number_is_no_agreement(compare):
    assert not compare.gap(measured(1.0, a=[1.0]), measured(1.0, a=[float("nan")])).closed
    assert not compare.gap(measured(float("nan"), a=[1.0]), measured(1.0, a=[1.0])).closed
