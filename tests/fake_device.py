"""A device that is none: its tensors lie on the host and say that they do not.

It counts what the host would wait for a GPU in. Host and device meet where they do on a GPU, and mixed are an error.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _DummyDeviceGuard

FAKE = torch.device("privateuseone", 0)
aten: Any = torch.ops.aten
COPIES = {aten._to_copy, aten.copy_}
INDEXING = {aten.index, aten.index_put, aten.index_put_}
NUMBERS = {aten._local_scalar_dense, aten.is_nonzero, aten.equal}
"""Operations that give the host a number"""
WRITES = {aten.index_copy_, aten.index_put_}
"""Operations whose places CUDA sorts where all is to be deterministic"""
SIZES = {aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.repeat_interleave}
"""Operations whose result is as large as only the device knows"""


class OnFake(Tensor):
    """A tensor of the fake device."""

    held: Tensor
    """What it holds, on the host"""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnFake":
        layout: Any = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        return Tensor._make_wrapper_subclass(cls, held.shape, device=FAKE, **layout)  # type: ignore[attr-defined,no-any-return]

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self, **_: Any) -> str:
        return f"{self.held!r} on {FAKE}"

    def tolist(self) -> Any:
        """One copy to the host, as of any device."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, operation: Any, *_: Any) -> Any:
        raise RuntimeError(f"{operation} of a tensor on the fake device, outside of `fake_device`")


class FakeDevice(TorchDispatchMode):
    """Inside, tensors are made on `FAKE` and moved there; operations on them run on the CPU and are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        """In what the host waited for the device, by operation"""
        self.copies = 0
        """Between host and device"""
        self.kernels = 0
        """Operations on the device that are no views"""
        self.sorts = 0
        """Of places, before something is written there"""

    def __torch_dispatch__(self, operation: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        ours = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, OnFake)}
        on_device = bool(ours)
        if options.get("device") is not None:
            on_device = torch.device(options["device"]).type == FAKE.type
            options["device"] = "cpu" if on_device else options["device"]
        if on_device or ours:
            non_blocking = options.get("non_blocking") is True or any(given is True for given in args[2:])
            self._count(operation, tensors, on_device, non_blocking)
        held_args, held_options = tree_map_only(OnFake, lambda tensor: tensor.held, (args, options))
        result = operation(*held_args, **held_options)

        def ours_again(held: Tensor) -> Tensor:  # what was changed in place is the tensor that it was
            return ours[id(held)] if id(held) in ours else OnFake(held)

        return tree_map_only(Tensor, ours_again, result) if on_device else result

    def _count(self, operation: Any, tensors: Sequence[Tensor], on_device: bool, non_blocking: bool) -> None:
        kind = operation.overloadpacket
        on_host = [tensor for tensor in tensors if not isinstance(tensor, OnFake)]
        of_host = [tensor for tensor in on_host if tensor.dim()]  # a number goes along with a call, but is copied too
        crosses = kind in COPIES and tensors[-1].numel() > 0 and (bool(on_host) or not on_device)
        if len(of_host) not in (0, len(tensors)) and kind not in COPIES | INDEXING:
            raise RuntimeError(f"{operation} of tensors on two devices, the host and {FAKE}")
        if kind is aten.cumsum and tensors[0].is_floating_point():
            raise RuntimeError(f"{operation} of floats, which CUDA refuses where all is to be deterministic")
        chosen = kind in INDEXING and (of_host or any(index.dtype == torch.bool for index in tensors[1:]))
        self.waits[str(operation)] += bool((crosses and not non_blocking) or chosen or kind in NUMBERS | SIZES)
        self.copies += crosses
        self.sorts += kind in WRITES and torch.are_deterministic_algorithms_enabled()
        self.kernels += not operation.is_view


@cache
def _register() -> None:
    """Says to torch that there is such a device, for as long as the process lives."""
    module: Any = ModuleType(FAKE.type)
    module._lazy_init, module.manual_seed_all, module._is_in_bad_fork = lambda: None, lambda _: None, lambda: False
    torch._register_device_module(FAKE.type, module)
    torch._C._acc.register_python_privateuseone_device_guard(_DummyDeviceGuard())  # type: ignore[attr-defined]


@contextmanager
def fake_device() -> Iterator[FakeDevice]:
    """`FakeDevice`, with what torch makes of a list there too, and with modules that can be moved to it."""
    _register()
    before = torch._C._only_lift_cpu_tensors(), torch.__future__.get_swap_module_params_on_conversion()
    torch._C._set_only_lift_cpu_tensors(True)
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with FakeDevice() as device:
            yield device
    finally:
        torch._C._set_only_lift_cpu_tensors(before[0])
        torch.__future__.set_swap_module_params_on_conversion(before[1])
