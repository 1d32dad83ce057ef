"""The frozen prefix: the layers below the lowest one that an adapter of policy or critic touches.

They are one and the same function for policy, reference and critic, in every epoch. So they run once, while the policy
samples; the hidden states that leave them are kept, and every later forward begins there and every backward ends there.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from truing.kernels.backbone import decoder_layers, known_layers
from truing.kernels.precision import rounding


@dataclass(frozen=True)
class FrozenPrefix:
    """The lower part of a model's layers."""

    layers: nn.ModuleList
    """All layers of the model"""
    depth: int
    """How many of them are frozen, at least 1"""
    tuples: bool = False
    """Whether a layer returns its hidden states as the first of several things"""

    @contextmanager
    def capture(self) -> Iterator[list[Tensor]]:
        """Inside, each forward adds the (B, S, D) hidden states that leave the prefix to the list."""
        states: list[Tensor] = []

        def record(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            states.append(arguments[0] if arguments else named["hidden_states"])

        hook = self.layers[self.depth].register_forward_pre_hook(record, with_kwargs=True)
        try:
            yield states
        finally:
            hook.remove()

    @contextmanager
    def skip(self, states: Tensor) -> Iterator[None]:
        """Inside, a forward takes these (B, S, D) hidden states for what leaves the prefix, which does not run."""
        output = (states, None) if self.tuples else states
        with ExitStack() as restored:
            for layer in self.layers[: self.depth]:
                layer.forward = lambda *_, **__: output
                restored.callback(delattr, layer, "forward")
            yield


def prefix_depth(model: PreTrainedModel, share: float) -> int:
    """Layers below the upper `share` of a model's layers, of which at least one is adapted.

    Raises:
        ModelError: its layers are not one list, so there is no telling which are the upper ones.
    """
    if share == 1:
        return 0
    count = len(known_layers(model, hint="Set lora.layers: 1."))
    return min(count - 1, round(count * (1 - share)))


@torch.no_grad()
def frozen_prefix_of(model: PreTrainedModel, depth: int) -> FrozenPrefix | None:
    """The lowest `depth` layers; None where there are none, or where the rest needs more than their output.

    Call it before adapters are added: what is compared is the model as it stands.
    """
    found = decoder_layers(model)
    if found is None or depth == 0:
        return None
    layers = found[1]
    tokens = torch.tensor([[0, 1, 2, 1], [2, 0, 1, 0]], device=model.device)
    returned: list[object] = []
    hook = layers[0].register_forward_hook(lambda *given: returned.append(given[-1]))
    with FrozenPrefix(layers, depth).capture() as states:
        whole = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    hook.remove()
    prefix = FrozenPrefix(layers, depth, tuples=isinstance(returned[0], tuple))
    try:
        with prefix.skip(states[0]):
            rest = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    except Exception:  # a model that misses something else of its lower layers fails in its own way
        return None
    allowed = rounding(whole.dtype)
    return prefix if torch.allclose(whole, rest, atol=allowed * max(1.0, float(whole.abs().max())), rtol=0.0) else None
