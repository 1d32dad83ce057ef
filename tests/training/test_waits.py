"""How often learning waits for a device: however many micro-batches a batch has, and columns a batch of responses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import pytest
import tiny
import torch
from fake_device import FAKE, fake_device

from truing.config.sections import Optimiser
from truing.functional import gae
from truing.training.learner import Learner


@dataclass(frozen=True)
class Numbers:
    """A batch of numbers that go to no device."""

    values: Sequence[float]
    names: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return len(self.values)

    @property
    def count(self) -> int:
        return len(self)

    @property
    def token_counts(self) -> list[int]:
        return [1] * len(self)

    def rows(self, index: Sequence[int]) -> Self:
        return type(self)([self.values[row] for row in index])

    def to(self, _: torch.device) -> Sequence[float]:
        return self.values


@pytest.mark.parametrize("budget", [100, 1])
def test_a_batch_is_waited_for_once_and_a_step_twice(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "backward", lambda _: None)  # autograd asks for a real device
    with fake_device() as device:
        weight = torch.nn.Parameter(torch.ones(3, device=FAKE))
        trained = tiny.trained("policy", 0.1, weight)
        trained.role.model.device = FAKE  # type: ignore[misc]
        learner = Learner([trained], Optimiser(learning_rate=0.1, warmup=0.0), steps=3, token_budget=budget)

        def loss(values: Sequence[float]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            mean = sum(values) / len(values)
            return (weight * mean).sum(), {"accuracy": weight.sum(), "ratio_max_deviation": weight.max() * max(values)}

        found = learner.forward_backward(Numbers([1.0, 2.0, 3.0, 6.0]), loss)
        assert sum(device.waits.values()) == 1
        weight.grad = torch.full((3,), 3.0, device=FAKE)
        norm = learner.step()
        assert sum(device.waits.values()) == 3
    assert found == {"loss": 9.0, "accuracy": 3.0, "ratio_max_deviation": 6.0}
    assert norm == pytest.approx(3 * 3**0.5)


@pytest.mark.parametrize("columns", [2, 50])
def test_advantages_of_a_device_are_found_on_the_host(columns: int) -> None:
    rewards, mask = torch.linspace(-1, 1, 3 * columns).view(3, columns), torch.ones(3, columns, dtype=torch.bool)
    expected = gae(rewards, rewards.flip(0), mask)
    with fake_device() as device:
        there = [part.to(FAKE) for part in (rewards, rewards.flip(0), mask)]
        device.waits.clear()
        device.kernels = 0
        found = gae(*there)
        assert sum(device.waits.values()) <= 5  # there and back
        assert device.kernels <= 6
        here = [part.cpu() for part in found]
    assert all(map(torch.equal, here, expected))
