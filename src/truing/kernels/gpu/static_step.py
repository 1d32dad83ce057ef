"""One token of each row through a model of a known family, by calls whose shapes and places do not change.

So CUDA can keep the calls of a step as a graph, and run them again without the host, which takes longer to make them
than the device takes to do what they ask.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from truing.core.errors import first_line
from truing.kernels.gpu.light_adapters import light_adapter

States = tuple[Tensor, Tensor | None]
"""(B, D) last hidden states, and (B, D) what left a frozen prefix where there is one"""
ROUNDING = 16
"""Times the distance of two numbers of a precision that a graph may be off from the calls it was made of"""


class StaticStep:
    """What a model's own layers give for one token a row, from the whole of a mask and of the room for its cache."""

    is_static = True
    begin = None
    """Prompts are of ever other shapes"""

    def __init__(self, model: PreTrainedModel, prefix_depth: int | None) -> None:
        self._backbone: Any = model.base_model
        self._prefix_depth = prefix_depth

    @torch.no_grad()
    def __call__(self, tokens: Tensor, mask: Tensor, cache: Any) -> States:
        """One more token (B,) of each row, the last that `mask` (B, room) counts; the `cache` is of `StaticLayer`s."""
        with _inputs_of(self._backbone.layers, self._prefix_depth) as prefix_states:
            output = self._backbone(
                input_ids=tokens[:, None],
                attention_mask=mask.bool()[:, None, None],  # of this shape the library takes a mask as it is
                position_ids=mask.sum(1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
            )
        return output.last_hidden_state[:, 0], prefix_states[0][:, 0] if prefix_states else None


@contextmanager
def _inputs_of(layers: Any, depth: int | None) -> Iterator[list[Tensor]]:
    """Inside, each forward adds to the list what goes into the layer at this depth, where one is told."""
    states: list[Tensor] = []
    if depth is None:
        yield states
        return
    hook = layers[depth].register_forward_pre_hook(lambda _, given: states.append(given[0]))
    try:
        yield states
    finally:
        hook.remove()


class GraphedStep:
    """A static step on CUDA whose calls are made once for each batch of rows, and run again for each further token.

    The first run of a graph is compared with the calls; where it gives something else, there are no more graphs.
    """

    is_static, begin = True, None

    def __init__(self, step: StaticStep) -> None:
        self._step = step
        self._works = True
        self._rows: Tensor | None = None
        """The mask of the rows that the graph is for"""

    def __call__(self, tokens: Tensor, mask: Tensor, cache: Any) -> States:
        """See `StaticStep`. The next call writes over what this one returns."""
        if not self._works:
            return self._step(tokens, mask, cache)
        if mask is not self._rows:
            return self._first(tokens, mask, cache)
        self._tokens.copy_(tokens)
        self._graph.replay()
        return self._states

    def _first(self, tokens: Tensor, mask: Tensor, cache: Any) -> States:
        """The step by its calls, of which a graph is made. Each writes the same into the cache, at the same place."""
        expected = self._step(tokens, mask, cache)
        try:
            self._rows, self._tokens, self._graph = mask, tokens.clone(), torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._states = self._step(self._tokens, mask, cache)
            self._graph.replay()
            self._works = _alike(self._states[0], expected[0])
            found = "it gave other numbers"
        except RuntimeError as error:
            self._works, found = False, first_line(error)
        if not self._works:
            warnings.warn(f"CUDA could not keep a token's step as a graph ({found}): sampling is slower.", stacklevel=2)
        return expected


def _alike(states: Tensor, expected: Tensor) -> bool:
    allowed = ROUNDING * torch.finfo(expected.dtype).eps * expected.abs().max()
    return bool((states - expected).abs().max() <= allowed)


@contextmanager
def static_decoding(
    model: PreTrainedModel, adapter: str | None, prefix_depth: int | None
) -> Iterator[StaticStep | GraphedStep]:
    """A step on the weights as they are now, for as long as the block lasts."""
    with light_adapter(model, adapter):
        step = StaticStep(model, prefix_depth)
        yield GraphedStep(step) if model.device.type == "cuda" else step
