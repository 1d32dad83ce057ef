"""A model whose layers are cut into stages, one process (of those that read the same rows) with the layers of each.

Hidden states go from stage to stage, and their gradients back. All stages run the same code on the same rows: a stage
reads the tokens, goes through its own layers and takes those before as what it has received; what follows on its
layers is known to the last stage alone, so what the others find there counts for nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from truing.core.heap import give_back_large_blocks
from truing.kernels.next_token import WHOLE, Vocabulary
from truing.processes.layer_order import LayerOrder, absent, stages_of_layers
from truing.processes.neighbours import Neighbours
from truing.processes.parts import Parts
from truing.processes.place import Copies


class PipelineStage(Parts):
    """This process's layers of a model."""

    parts_are_whole_weights = True

    def __init__(
        self,
        model: PreTrainedModel,
        layers: Sequence[nn.Module],
        order: Callable[[], LayerOrder],
        neighbours: Neighbours,
        writes: bool,
    ) -> None:
        """Keeps the weights of this stage's layers alone; in the place of all others stands a number that is none.

        Args:
            model: with the weights of this stage's layers at least, and of all that is in no layer; what a process has
                of them is what any other has.
            layers: of it.
            order: goes through the model once, and says in which order that was. Meanwhile this process has each layer
                for as long as the layer computes.
            neighbours: of this process.
            writes: whether this process is the one, of those that have the same layers, which saves them.
        """
        give_back_large_blocks()
        self.writes = writes
        self._neighbours = neighbours
        self._held_by: dict[nn.Parameter, list[int]] = {}
        """Of each weight that not all processes have, in which stages it is"""
        self.ahead = neighbours.stages - 1 - neighbours.stage
        self.answers = neighbours.is_last
        self.stages = neighbours.stages
        self._stage_of_layer = stages_of_layers(len(layers), self.stages)
        self._keep(zip(layers, self._stage_of_layer, strict=True))
        with self._layer_by_layer(layers):
            self._order = order()
        self._keep_of(model)
        self.release()

    def gather(self) -> None:
        """See `Parts`. Each process has the whole model for as long."""
        self._fetch(self._held_by)
        for module in self._elsewhere():
            vars(module).pop("forward", None)
        self.vocabulary = WHOLE

    def release(self) -> None:
        """See `Parts`."""
        self._let_go(self._held_by)
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
        self._keep(places)

    def _keep(self, places: Iterable[tuple[nn.Module, int]]) -> None:
        """Notes in which stages the weights of these modules are."""
        for module, stage in places:
            for weight in module.parameters():
                stages = self._held_by.setdefault(weight, [])
                if stage not in stages:
                    stages.append(stage)

    @contextmanager
    def _layer_by_layer(self, layers: Iterable[nn.Module]) -> Iterator[None]:
        """Inside, all stages go through the whole model at once, and have the layers of others while they compute."""
        self._let_go(self._held_by)
        with ExitStack() as hooks:
            for layer in layers:
                hooks.callback(layer.register_forward_pre_hook(lambda own, _: self._fetch(own.parameters())).remove)
                hooks.callback(layer.register_forward_hook(lambda own, *_: self._let_go(own.parameters())).remove)
            yield

    def _fetch(self, weights: Iterable[nn.Parameter]) -> None:
        """Makes them whole in all stages."""
        for weight in weights:
            if not self.has(weight):
                weight.data = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
            self._neighbours.broadcast(weight.data, self._held_by[weight][0])

    def _let_go(self, weights: Iterable[nn.Parameter]) -> None:
        """Keeps nothing of those that other stages have."""
        for weight in weights:
            if not self.has(weight):
                weight.data = absent(weight, weight.device)

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

    def subtract_one_(self, slopes: Tensor, tokens: Tensor) -> None:
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
