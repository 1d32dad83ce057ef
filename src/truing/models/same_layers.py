"""Whether layers that are cut compute what they do whole: each is asked, one after the other, so that no process need
hold more than one of them whole.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from truing.core.errors import ModelError
from truing.models.exactness import WRONG
from truing.models.padding import embedding_rows
from truing.models.roles import Role

if TYPE_CHECKING:
    from truing.processes.parts import Parts

TOKENS = 8
"""That the layers are asked about"""
WRONG_IN_HALF = 0.1
"""An error of what a layer adds, as a share of the largest of it, that is no rounding in bfloat16 or float16"""
TIMES = 16
"""As many times the rounding of a hidden state may be in what a layer adds to it"""


@torch.no_grad()
def check_layers(role: Role, layers: Mapping[str, nn.Module], hint: str) -> None:
    """Holds that each layer of a role that is cut, by its path, computes what it does with whole weights.

    Raises:
        ModelError: one computes something else.
    """
    assert role.parts is not None
    whole, computed_in = _outline(role.model), role.backend.precision.compute
    off: dict[str, float] = {}
    hooks = []
    for path, layer in layers.items():
        compare = partial(_compare, whole.get_submodule(path), role.parts, computed_in, partial(off.__setitem__, path))
        hooks.append(layer.register_forward_hook(compare, with_kwargs=True))
    tokens = torch.arange(TOKENS, device=role.model.device)[None] % embedding_rows(role.model)
    try:
        role.hidden(tokens, torch.ones_like(tokens))
    finally:
        for hook in hooks:
            hook.remove()
    wrong = [path for path, error in off.items() if not error <= 1]
    if wrong or off.keys() != layers.keys():
        path = next(iter(wrong), "one of its layers")
        what = f"gives other numbers once its layers are cut, first in {path}."
        raise ModelError(what, code="model/cut-otherwise", where=role.model.name_or_path, hint=hint)


def _outline(model: PreTrainedModel) -> PreTrainedModel:
    with torch.device("meta"):
        whole: PreTrainedModel = type(model)(model.config)
    whole.train(False)
    return whole


def _compare(
    whole: nn.Module,
    parts: "Parts",
    computed_in: torch.dtype,
    tell: Callable[[float], None],
    layer: nn.Module,
    inputs: tuple[Tensor, ...],
    options: Mapping[str, Any],
    output: Any,
) -> None:
    """Tells how far a layer's output is from that of the whole one, in units of what may be rounding."""
    weights = {path: parts.whole(weight) for path, weight in layer.named_parameters()}
    states, *others = map(parts.own_part, inputs)  # which a layer that was cut itself is handed in the form of a part
    expected = _states(functional_call(whole, weights | dict(layer.named_buffers()), (states, *others), dict(options)))
    found = _states(output)
    added = expected - states if states.shape == expected.shape else expected
    share = WRONG if computed_in == torch.float32 else WRONG_IN_HALF
    rounding = TIMES * torch.finfo(computed_in).eps
    allowed = share * float(added.abs().max()) + rounding * float(expected.abs().max())
    tell(float((found - expected).abs().max()) / allowed)


def _states(output: Any) -> Tensor:
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states
