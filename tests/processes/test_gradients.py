"""Gradients of a device are waited for where they are added up, and nowhere later."""

import pytest
import torch
from fake_device import FAKE, fake_device
from torch import distributed, nn

from truing.processes.gradients import add_up


@pytest.mark.parametrize(("device", "waits"), [(torch.device("cpu"), []), (FAKE, [FAKE])])
def test_sums_of_a_device_are_there_when_the_message_is(
    device: torch.device, waits: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[torch.device] = []

    def all_reduce(flat: torch.Tensor, group: None) -> None:
        assert not waited
        flat.mul_(2)

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    with fake_device():
        weights = [nn.Parameter(torch.ones(2, device=device)), nn.Parameter(torch.ones(1, device=device))]
        weights[0].grad = torch.full((2,), 3.0, device=device)
        add_up(weights, None)
        found = [weight.grad.tolist() for weight in weights if weight.grad is not None]
    assert found == [[6.0, 6.0], [0.0]]
    assert waited == waits
