"""What a piece of torch code holds, multiplies and moves, counted on tensors that have shapes and no numbers.

The code runs in earnest, so its architecture need not be known; `FakeTensorMode` gives every result its shape without
computing it, and `Tally` watches from above.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Cost:
    """Of a pass over some tokens. Sums are of passes that follow one another and keep what they hold."""

    kept: float = 0.0
    """Bytes that are still held at the end of the forward: what waits for the backward"""
    burst: float = 0.0
    """Bytes beyond these at the worst moment"""
    operations: float = 0.0
    """Of products of matrices"""
    moved: float = 0.0
    """Bytes read and written by everything else"""
    calls: float = 0.0
    """Operators called"""
    compiled: float = 0.0
    """Different products that oneDNN compiles"""

    def __add__(self, other: Self) -> "Cost":
        return Cost(
            self.kept + other.kept,
            max(self.burst, other.burst),
            self.operations + other.operations,
            self.moved + other.moved,
            self.calls + other.calls,
            self.compiled + other.compiled,
        )

    def times(self, factor: float) -> "Cost":
        """The same work so many times, one after another; no more is held at once."""
        return replace(self, operations=self.operations * factor, moved=self.moved * factor, calls=self.calls * factor)


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while it is entered; within `FakeTensorMode`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: set[int] = set()
        self.begin()

    def begin(self) -> None:
        """Counts anew from here; what is held by now is not in it."""
        self.live = self.peak = 0
        self.operations, self.moved, self.calls = 0.0, 0.0, 0.0
        self._products: set[tuple[object, ...]] = set()

    @property
    def compiled(self) -> int:
        """Different products of oneDNN."""
        return len(self._products)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = _run(func, args, kwargs)
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        fresh = [self._hold(tensor.untyped_storage()) for tensor in made]
        self.calls += bool(made)
        products = _products(func, args, kwargs, out)
        self.operations += products
        if func.namespace == "mkldnn":
            self._products.add((func, *((part.shape, part.stride()) for part in args if isinstance(part, Tensor))))
        if not products and (any(fresh) or func._schema.is_mutable):  # the rest are views
            read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self.moved += sum(tensor.numel() * tensor.itemsize for tensor in read + made)
        return out

    def _hold(self, storage: torch.UntypedStorage) -> bool:
        """Whether it was new."""
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return False
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key, size)
        return True

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


def _products(func: Any, args: Any, kwargs: Any, out: Any) -> float:
    """Operations of a product of matrices, 0 of anything else."""
    if func is torch.ops.aten._grouped_mm.default:
        return 2.0 * float(args[0].numel()) * float(args[1].shape[-1])  # each entry meets one expert's column
    if func.namespace == "mkldnn":
        return 2.0 * float(out.numel()) * float(args[0].shape[-1])
    formula = flop_registry.get(func._overloadpacket)
    return float(formula(*args, **kwargs, out_val=out)) if formula else 0.0


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
