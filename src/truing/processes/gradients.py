"""Gradients of the same weights in several processes, added up."""

from collections.abc import Sequence

import torch
from torch import distributed, nn


@torch.no_grad()
def add_up(weights: Sequence[nn.Parameter], group: distributed.ProcessGroup | None) -> None:
    """Sums the gradients of each process of a group in place, in one message; one that has none adds nothing.

    They are there when it returns, on a GPU too: who waits for others has to be seen to wait, or none would end it.

    Args:
        weights: the same in all of them, on one device.
        group: None for all processes.
    """
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat, group=group)
    if flat.device.type != "cpu":
        torch.accelerator.synchronize(flat.device)
    parts = torch.split(flat, [one.numel() for one in gradients])
    for weight, gradient, part in zip(weights, gradients, parts, strict=True):
        weight.grad = gradient.copy_(part.view_as(gradient))
