"""The stages before and behind a process's in a pipeline: hidden states go to and fro between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import DeviceMesh


@dataclass
class Pass:
    """What one forward leaves for its backward."""

    received: Tensor | None = None
    """Hidden states of the stage before; None in the first"""
    handed_on: Tensor | None = None
    """Those that the next stage has been given, with all that computed them; None in the last"""
    sending: Sequence[distributed.Work] = ()
    """Of these, on their way"""


class Neighbours:
    """The stages before and behind this process's, and what is on its way between them, of whatever model."""

    def __init__(self, rank: int, apart: int, mesh: DeviceMesh) -> None:
        """Args:
        rank: of this process.
        apart: the difference of rank between two stages.
        mesh: of the stages that read the same rows.
        """
        self.stage, self.stages = mesh.get_local_rank(), mesh.size()
        self._before, self._behind = rank - apart, rank + apart
        self._forward = mesh.get_group()
        """Another group than that of gradients, which come the other way and must not wait behind hidden states"""
        self._first = rank - apart * self.stage
        self._apart = apart
        self._passes: list[Pass] = []
        self._sent: list[distributed.Work] = []
        """What was handed on without a backward to come"""
        self._sent_back: list[distributed.Work] = []

    @property
    def is_last(self) -> bool:
        """Whether there is none behind."""
        return self.stage == self.stages - 1

    def receive(self, states: Tensor) -> Tensor:
        """Fills `states` with those of the stage before; their gradient is wanted where something learns there."""
        distributed.recv(states, self._before, group=self._forward)
        if torch.is_grad_enabled():
            learns = torch.empty(1, dtype=torch.uint8, device=states.device)
            distributed.recv(learns, self._before, group=self._forward)
            self._passes.append(Pass(states.requires_grad_(bool(learns))))
        return states

    def hand_on(self, states: Tensor) -> None:
        """Gives hidden states to the next stage, without waiting until it takes them."""
        sending = self._sending(states.detach())
        if not torch.is_grad_enabled():
            self._sent.append(sending)
            if len(self._sent) > self.stages:
                self._sent.pop(0).wait()
            return
        if self.stage == 0:
            self._passes.append(Pass())
        learns = self._sending(torch.tensor([states.requires_grad], dtype=torch.uint8, device=states.device))
        self._passes[-1].handed_on, self._passes[-1].sending = states, (sending, learns)

    def _sending(self, tensor: Tensor) -> distributed.Work:
        sending = distributed.isend(tensor.contiguous(), self._behind, group=self._forward)
        assert sending is not None
        return sending

    def take_passes(self) -> list[Pass]:
        """Those since they were last taken."""
        taken, self._passes = self._passes, []
        return taken

    def backward(self, loss: Tensor, passes: Sequence[Pass]) -> None:
        """The gradients of what these passes handed on, or of the loss behind them; those of what they received."""
        if self.is_last:
            loss.backward()  # type: ignore[no-untyped-call]
        self._backward_from_behind(passes)
        for sending in self._sent_back:
            sending.wait()
        received = [one.received for one in passes if one.received is not None and one.received.requires_grad]
        gradients = [torch.zeros_like(states) if states.grad is None else states.grad for states in received]
        back = (distributed.isend(gradient.contiguous(), self._before) for gradient in gradients)
        self._sent_back = [sending for sending in back if sending is not None]

    def _backward_from_behind(self, passes: Sequence[Pass]) -> None:
        for one in passes:
            for sending in one.sending:
                sending.wait()
        learnt = [one.handed_on for one in passes if one.handed_on is not None and one.handed_on.requires_grad]
        gradients = [torch.empty_like(states, memory_format=torch.contiguous_format) for states in learnt]
        for gradient in gradients:
            distributed.recv(gradient, self._behind)
        if learnt:
            torch.autograd.backward(learnt, gradients)

    def broadcast(self, tensor: Tensor, stage: int) -> None:
        """Fills `tensor` in all stages with that of one."""
        distributed.broadcast(tensor, self._first + self._apart * stage, group=self._forward)
