"""What torch code holds, and what oneDNN compiles for it, counted on tensors that have shapes and no numbers.

The code runs in earnest, so its architecture need not be known; `FakeTensorMode` gives every result its shape without
computing it, and `Tally` watches from above.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Cost:
    """Of a pass over some tokens. Sums are of passes that follow one another and keep what they hold."""

    kept: float = 0.0
    """Bytes that are still held at the end of the forward: what waits for the backward"""
    burst: float = 0.0
    """Bytes beyond these at the worst moment"""
    compiled: float = 0.0
    """Different products that oneDNN compiles"""

    def __add__(self, other: Self) -> "Cost":
        return Cost(
            self.kept + other.kept,
            max(self.burst, other.burst),
            self.compiled + other.compiled,
        )


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while it is entered; within `FakeTensorMode`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: set[int] = set()
        self.begin()

    def begin(self) -> None:
        """Counts anew from here; what is held by now is not in it."""
        self.live = self.peak = 0
        self._products: set[tuple[object, ...]] = set()

    @property
    def compiled(self) -> int:
        """Different products of oneDNN."""
        return len(self._products)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = _run(func, args, kwargs)
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._hold(leaf.untyped_storage())
        if func.namespace == "mkldnn":
            self._products.add((func, *((part.shape, part.stride()) for part in args if isinstance(part, Tensor))))
        return out

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operator returns; its shape by our own word where torch has none for it on a CPU."""
    if func is torch.ops.mkldnn._linear_pointwise.binary:  # that of what is added to
        return args[1].new_empty(args[1].shape)
    if func is torch.ops.aten._grouped_mm.default:  # each row by its own expert's weight; or each expert's gradient
        rows, weight = args[:2]
        experts = () if weight.dim() == 3 else kwargs.get("offs", args[2] if len(args) > 2 else None).shape
        return rows.new_empty(*experts, rows.shape[-2], weight.shape[-1])
    return func(*args, **kwargs)


@contextmanager
def shapes_alone() -> Iterator[Tally]:
    """Inside, tensors have shapes and no numbers, and what is done with them is counted."""
    with FakeTensorMode(), Tally() as tally:
        yield tally


def given_shapes(model: nn.Module) -> None:
    """Takes a model from the meta device to tensors that can be counted; within `shapes_alone`. Ties stay."""
    known: dict[Tensor, nn.Parameter] = {}
    for module in list(model.modules()):
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight not in known:
                known[weight] = nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype), weight.requires_grad)
            setattr(module, name, known[weight])
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
