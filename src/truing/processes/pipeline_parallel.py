"""A model whose layers are cut into stages, one process (of those that read the same rows) with the layers of each.

Hidden states go from stage to stage, and their gradients back. All stages run the same code on the same rows: a stage
reads the tokens, goes through its own layers and takes those before as what it has received; what follows on its
layers is known to the last stage alone, so what the others find there counts for nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedModel

from truing.kernels.next_token import WHOLE, Vocabulary
from truing.processes.group import Copies
from truing.processes.layer_order import LayerOrder
from truing.processes.parts import Parts, give_back_large_blocks


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


class PipelineStage(Parts):
    """This process's layers of a model."""

    parts_are_whole_weights = True

    def __init__(self, model: PreTrainedModel, order: LayerOrder, neighbours: Neighbours, writes: bool) -> None:
        """Keeps the weights of this stage's layers alone; in the place of all others stands a number that is none.

        Args:
            model: with whole weights, the same in all processes.
            order: of what a forward goes through.
            neighbours: of this process.
            writes: whether this process is the one, of those that have the same layers, which saves them.
        """
        give_back_large_blocks()
        self.writes = writes
        self._order, self._neighbours = order, neighbours
        self._held_by: dict[nn.Parameter, list[int]] = {}
        """Of each weight that not all processes have, in which stages it is"""
        stages, layers = neighbours.stages, order.layers
        self._stage_of_layer = [place * stages // len(layers) for place in range(len(layers))]
        self.ahead = stages - 1 - neighbours.stage
        self.answers = neighbours.is_last
        self.stages = stages
        self._keep_of(model)
        self.release()

    def gather(self) -> None:
        """See `Parts`. Each process has the whole model for as long."""
        for weight, stages in self._held_by.items():
            if not self.has(weight):
                weight.data = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
            self._neighbours.broadcast(weight.data, stages[0])
        for module in self._elsewhere():
            vars(module).pop("forward", None)
        self.vocabulary = WHOLE

    def release(self) -> None:
        """See `Parts`."""
        for weight in self._held_by:
            if not self.has(weight):
                weight.data = torch.full((), torch.nan, dtype=weight.dtype, device=weight.device).expand(weight.shape)
        for module, forward in self._elsewhere().items():
            vars(module)["forward"] = forward
        self.vocabulary = WHOLE if self.answers else Elsewhere()

    def cut_adapter(self, model: PreTrainedModel, name: str) -> None:
        """See `Parts`. An adapter is where its layer is."""
        self._keep_of(model)
        self.release()

    def backward_of(self, loss: Tensor) -> Callable[[], None]:
        """See `Parts`."""
        passes = self._neighbours.take_passes()
        return lambda: self._neighbours.backward(loss, passes)

    def has(self, weight: nn.Parameter) -> bool:
        """See `Parts`."""
        return weight not in self._held_by or self._neighbours.stage in self._held_by[weight]

    def counts(self, weight: nn.Parameter) -> bool:
        """See `Parts`: the first of the stages that have it does."""
        return weight not in self._held_by or self._neighbours.stage == self._held_by[weight][0]

    def copies(self, weight: nn.Parameter) -> Copies:
        """See `Parts`."""
        if weight not in self._held_by:
            return Copies.EVERYWHERE
        return Copies.IN_STAGE if len(self._held_by[weight]) == 1 else Copies.AT_ENDS

    def axis(self, weight: nn.Parameter) -> int | None:
        """See `Parts`: of a whole weight that others lack, the first, as of the only one of its parts."""
        return 0 if weight in self._held_by else None

    def own_part_of(self, weight: nn.Parameter, whole: Tensor) -> Tensor:
        """See `Parts`."""
        return whole

    def whole(self, weight: nn.Parameter) -> Tensor:
        """See `Parts`."""
        found = weight.detach().contiguous()
        if weight in self._held_by:
            self._neighbours.broadcast(found, self._held_by[weight][0])
        return found

    def _keep_of(self, model: PreTrainedModel) -> None:
        """Notes in which stages the weights of the model, and of what it carries by now, are."""
        last, projection = self._neighbours.stages - 1, model.get_output_embeddings()  # type: ignore[no-untyped-call]
        places = [(module, 0) for module in self._order.before]
        places += zip(self._order.layers, self._stage_of_layer, strict=True)
        places += [(module, last) for module in (*self._order.behind, projection) if module is not None]
        for module, stage in places:
            for weight in module.parameters():
                stages = self._held_by.setdefault(weight, [])
                if stage not in stages:
                    stages.append(stage)

    def _elsewhere(self) -> dict[nn.Module, Callable[..., Any]]:
        """What other stages compute, and what is done here in its place."""
        stage, layers = self._neighbours.stage, self._order.layers
        found: dict[nn.Module, Callable[..., Any]] = {}
        if stage > 0:
            found |= dict.fromkeys(self._order.before, self._nothing)
        if not self.answers:
            found |= dict.fromkeys(self._order.behind, self._nothing)
        found |= {
            layer: self._passed_on for layer, own in zip(layers, self._stage_of_layer, strict=True) if own != stage
        }
        if stage > 0:
            found[layers[self._stage_of_layer.index(stage) - 1]] = self._received
        if not self.answers:
            found[layers[self._stage_of_layer.index(stage + 1)]] = self._handed_on
        return found

    def _nothing(self, given: Tensor, *_: Any, **__: Any) -> Tensor:
        """For embeddings of tokens, and for hidden states themselves."""
        if given.is_floating_point():
            return given
        return torch.zeros(*given.shape, self._order.width, dtype=self._order.dtypes[0], device=given.device)

    def _passed_on(self, *given: Any, **named: Any) -> Any:
        return self._as_of_layer(_states(given, named))

    def _received(self, *given: Any, **named: Any) -> Any:
        states = _states(given, named)
        dtype = self._order.dtypes[self._stage_of_layer.index(self._neighbours.stage)]
        taken = torch.empty(*states.shape[:-1], self._order.width, dtype=dtype, device=states.device)
        return self._as_of_layer(self._neighbours.receive(taken))

    def _handed_on(self, *given: Any, **named: Any) -> Any:
        states = _states(given, named)
        self._neighbours.hand_on(states)
        return self._as_of_layer(states.detach())

    def _as_of_layer(self, states: Tensor) -> Any:
        return (states, None) if self._order.tuples else states


class Elsewhere(Vocabulary):
    """A vocabulary of which this process has no tokens: the last stage has them, and what is said here counts not."""

    def logits(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """See `Vocabulary`."""
        return hidden.new_zeros(*hidden.shape[:-1], 0)

    def projection(self, layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """See `Vocabulary`."""
        return layer.weight[:0], None

    def of_tokens(self, logprobs: Tensor, tokens: Tensor) -> Tensor:
        """See `Vocabulary`."""
        return logprobs.new_zeros(len(tokens))

    def add_one_(self, slopes: Tensor, tokens: Tensor) -> None:
        """See `Vocabulary`."""

    def token_logprobs(self, logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
        """See `Vocabulary`."""
        return self.of_tokens(logits, tokens)

    def distribution(self, logits: Tensor, ref_logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Vocabulary`."""
        nothing = self.of_tokens(logits, tokens)
        return nothing, nothing, nothing


def _states(given: Sequence[Any], named: Mapping[str, Any]) -> Tensor:
    """The hidden states among what a layer is called with."""
    states: Tensor = given[0] if given else named["hidden_states"]
    return states
