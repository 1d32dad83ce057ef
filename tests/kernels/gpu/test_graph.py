"""What is put back where CUDA does not keep calls as a graph: PyTorch's allocator and its current stream."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from truing.kernels.gpu.graph import captured

POOL = (0, 7)


class Cuda:
    """As much of PyTorch's CUDA as a capture goes by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, breaks: bool) -> None:
        self.breaks = breaks
        """Whether CUDA does not end the capture"""
        self.stream = SimpleNamespace(name="own", device_index=3)
        self.under_way: list[tuple[int, tuple[int, int]]] = []
        self.released: list[tuple[int, tuple[int, int]]] = []
        for name, value in {
            "CUDAGraph": lambda: "graph",
            "current_stream": lambda: self.stream,
            "set_stream": lambda stream: setattr(self, "stream", stream),
            "graph_pool_handle": lambda: POOL,
            "graph": self.graph,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self.end, raising=False)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda *of: self.released.append(of), raising=False)

    @contextmanager
    def graph(self, _: str, pool: tuple[int, int], capture_error_mode: str) -> Iterator[None]:
        """As `torch.cuda.graph`, which ends the capture first, and only then goes back to the stream before."""
        assert capture_error_mode == "thread_local"  # by default, what another thread asks would break it off
        before, self.stream = self.stream, SimpleNamespace(name="capture", device_index=3)
        self.under_way.append((3, pool))
        try:
            yield
        finally:
            if self.breaks:
                raise RuntimeError("operation failed due to a previous error during capture")
            self.end(3, pool)
            self.stream = before

    def end(self, *of: object) -> None:
        """As the allocator: what is not under way cannot end."""
        if of not in self.under_way:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.under_way.remove(of)


def _fails() -> None:
    raise RuntimeError("operation not permitted when stream is capturing")


def test_calls_become_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(monkeypatch, breaks=False)
    assert captured(lambda: 5) == ("graph", 5)
    assert (cuda.stream.name, cuda.under_way, cuda.released) == ("own", [], [])  # the graph releases its pool itself


@pytest.mark.parametrize("breaks", [True, False])
def test_a_capture_that_fails_leaves_nothing_under_way(breaks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(monkeypatch, breaks)
    with pytest.raises(RuntimeError, match="captur"):
        captured(_fails)
    assert (cuda.stream.name, cuda.under_way) == ("own", [])
    assert cuda.released == [(3, POOL)] * breaks
