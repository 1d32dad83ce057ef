"""Kernels, bytes and operations of a token's step on a GPU, counted without one.

    python benchmarks/gpu/counted.py          # the table of docs/gpu.md, in a minute on any machine

Models are outlines (torch's meta device), so nothing is computed. A kernel reads what it is given and writes what it
returns; of cells that are picked or put, those alone. PyTorch's fused norm and attention are one kernel each, as on
CUDA. A step takes at least what its kernels do one after the other, each limited by the memory or by products: the
share of the floor that is left by that is the most that a GPU could reach, not what one does.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedConfig, PreTrainedModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu.subjects import Work, configs

from truing.config.sections import Lora
from truing.estimate.work import DEVICES
from truing.kernels.backend import choose_backend
from truing.kernels.cache import even_room, make_room
from truing.kernels.gpu.light_adapters import light_adapter
from truing.kernels.gpu.static_step import StaticStep
from truing.kernels.next_token import WHOLE
from truing.kernels.precision import Precision
from truing.models.adapters import Adapters
from truing.models.roles import Role
from truing.preflight.shapes import shape_of

GPU = DEVICES["H200 SXM"]
HALF = torch.bfloat16
aten: Any = torch.ops.aten
PUT = {aten.index_copy_, aten.index_put_, aten.scatter_add_}
"""They change some cells of what they are given"""
PICK = {*PUT, aten.index_select, aten.index, aten.embedding, aten.gather}
"""They touch as much as the smaller of what they are given and return"""
PRODUCTS = {aten.mm, aten.addmm, aten.addmm_, aten.bmm, aten.baddbmm}
FUSED: dict[Callable[..., Any], str] = {F.scaled_dot_product_attention: "attention", F.rms_norm: "norm"}
"""Functions that are one kernel on CUDA"""


@dataclass
class Count:
    """Of what a device was told to do."""

    kernels: int = 0
    bytes: float = 0.0
    seconds: float = 0.0
    """That it takes at least, kernel by kernel"""

    def add(self, given: Any, returned: Any, operations: float, touched: float | None = None) -> None:
        """A kernel that reads and writes these."""
        read = {id(leaf): leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)}
        written = [leaf for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]
        size = sum(map(_bytes, [*read.values(), *written])) if touched is None else touched
        self.kernels += 1
        self.bytes += size
        self.seconds += max(size / GPU.bandwidth, operations / GPU.operations)


class Counting(TorchDispatchMode):
    """Inside, each operation that is no view is counted as a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self._functions = Count(), _Functions(self)

    def __enter__(self) -> Self:
        self._functions.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._functions.__exit__(*error)

    def __torch_dispatch__(self, operation: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = operation(*args, **(kwargs or {}))
        if self._functions.inside or operation.is_view or operation.namespace != "aten" or not _does(operation):
            return returned
        kind, given = operation.overloadpacket, (args, kwargs)
        tensors = [leaf for leaf in tree_leaves((given, returned)) if isinstance(leaf, Tensor)]
        picked = 2.0 * sorted(map(_bytes, tensors))[-2] if kind in PICK else None
        if kind in PUT:
            picked = 2.0 * min(map(_bytes, [tensor for tensor in tensors if tensor.is_floating_point()]))
        self.count.add(given, returned, _operations(kind, tensors), picked)
        return returned


class _Functions(TorchFunctionMode):
    """Counts calls of `FUSED` as one kernel each."""

    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self._counting, self.inside = counting, False

    def __torch_function__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.inside or function not in FUSED:
            return function(*args, **(kwargs or {}))
        self.inside = True
        returned = function(*args, **(kwargs or {}))
        self.inside = False
        operations = 4.0 * args[0].numel() * args[1].shape[-2] if FUSED[function] == "attention" else 0.0
        self._counting.count.add((args, kwargs), returned, operations)
        return returned


def _does(operation: Any) -> bool:
    """Whether something is run; a place in memory is not."""
    return not operation.name().startswith(("aten::empty", "aten::new_empty", "aten::_unsafe_view", "aten::detach"))


def _bytes(tensor: Tensor) -> float:
    """That a tensor has of its own: what is expanded is there once."""
    own = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        own *= size if stride else 1
    return float(own * tensor.element_size())


def _operations(kind: Any, tensors: list[Tensor]) -> float:
    """Of a product, by its last two factors; of anything else none that count."""
    if kind not in PRODUCTS:
        return 0.0
    factors = tensors[1:3] if kind in {aten.addmm, aten.addmm_, aten.baddbmm} else tensors[:2]
    return 2.0 * factors[0].numel() * factors[1].shape[-1]


def policy(config: PreTrainedConfig) -> Role:
    """An outline with an adapter on all its layers, in what a GPU computes in."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=HALF)  # type: ignore[no-untyped-call]
    model.eval().requires_grad_(False)
    backend = choose_backend(model, torch.device("meta"), Precision(HALF, HALF))
    adapters = Adapters(model, Lora(), 0, backend)
    adapters.add("policy")
    return Role(model, adapters, "policy", backend=backend)


@torch.no_grad()
def token_step(role: Role, work: Work, fused: bool) -> Count:
    """One token of each row: a layer at a time as the library has it, or as a GPU is told by `StaticStep`; the draw."""
    rows, room = work.episodes, even_room(work.prompt_tokens + work.response_tokens)
    tokens, mask = (torch.ones(rows, *size, dtype=torch.long, device="meta") for size in ((), (room,)))
    cache = _cache(role.model, rows, work.prompt_tokens, room)
    with light_adapter(role.model, "policy"):
        step = StaticStep(role.model, "policy", None, HALF) if fused else _by_library(role.model)
        with Counting() as counting:
            states, _ = step(tokens, mask, cache)
            logits = role.logits(states)
            WHOLE.draw(logits, torch.ones(rows, device="meta", dtype=torch.float64))
    return counting.count


def _cache(model: PreTrainedModel, rows: int, read: int, room: int) -> DynamicCache:
    """Of so many rows, each with so many tokens, and with room for more."""
    cache, config = DynamicCache(config=model.config), model.config
    shape = rows, config.num_key_value_heads, read, config.hidden_size // config.num_attention_heads
    for layer in range(config.num_hidden_layers):
        cache.update(*(torch.empty(shape, dtype=HALF, device="meta") for _ in range(2)), layer)
    place = torch.zeros(1, dtype=torch.long, device="meta")
    make_room(cache, torch.arange(rows, device="meta"), room, place)
    return cache


def _by_library(model: PreTrainedModel) -> Callable[..., tuple[Tensor, None]]:
    backbone: Any = model.base_model

    def step(tokens: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, None]:
        output = backbone(
            input_ids=tokens[:, None],
            attention_mask=mask.bool()[:, None, None],
            position_ids=mask.sum(1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        )
        return output.last_hidden_state[:, 0], None

    return step


def floor(role: Role, work: Work) -> float:
    """Seconds that a token step takes at least: products, or all weights and half of the final keys and values."""
    shape, tokens = shape_of(role.model), work.prompt_tokens + work.response_tokens
    read = shape.parameters + shape.layers * 2 * shape.key_width * work.episodes * tokens / 2
    products = shape.layers * shape.products + shape.projection
    return max(2.0 * read / GPU.bandwidth, 2.0 * products * work.episodes / GPU.operations)


def main() -> None:
    """The table."""
    print("| a token step | rows | kernels | GB read and written | share of the floor, at most |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, (config, work) in configs().items():
        role = policy(config)
        for words, fused in (("the library's layers", False), ("ours", True)):
            count = token_step(role, work, fused)
            share = floor(role, work) / count.seconds
            print(f"| {name}, {words} | {work.episodes} | {count.kernels:,} | {count.bytes / 1e9:.1f} | {share:.0%} |")


if __name__ == "__main__":
    main()
