"""A graph of a step's calls takes their place only where it gives what they gave."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from truing.kernels.gpu import static_step
from truing.kernels.gpu.static_step import GraphedStep, States, StaticDecoding

calls: list[int] = []
"""Rows of each call of the step"""


def _step(tokens: Tensor, mask: Tensor, cache: Tensor) -> tuple[Tensor, None]:
    calls.append(len(tokens))
    return (tokens * mask.sum(1) + cache)[:, None].float(), None


class _Graph:
    """In the place of CUDA's: runs the step again, on the tensors that it was made with, and is `off` by so much."""

    def __init__(self, of: GraphedStep, states: Tensor, off: float) -> None:
        self.of, self.states, self.off = of, states, off

    def replay(self) -> None:
        assert self.of._rows is not None
        expected = self.of._tokens * self.of._rows.sum(1) + CACHE[: len(self.of._rows)]
        self.states.copy_(expected[:, None] + self.off)


CACHE = torch.tensor([5, 6, 7])


def _graphed(monkeypatch: pytest.MonkeyPatch, off: float = 0.0, fault: str = "") -> GraphedStep:
    decoding = StaticDecoding(torch.float32)
    graphed = GraphedStep(_step, decoding)  # type: ignore[arg-type]

    def capture(made: Callable[[], States]) -> tuple[Any, States]:
        assert graphed._kept is None  # the memory of the last graph is free
        states = made()
        if fault:
            raise RuntimeError(fault)
        return _Graph(graphed, states[0], off), states

    monkeypatch.setattr(static_step, "captured", capture)
    calls.clear()
    return graphed


def _says(graphed: GraphedStep, tokens: list[int], mask: Tensor) -> list[float]:
    rows = len(tokens)
    return graphed(torch.tensor(tokens), mask, CACHE[:rows])[0].squeeze(1).tolist()


def test_a_graph_is_made_once_for_a_batch_of_rows_and_reads_what_is_in_its_tensors_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphed, mask = _graphed(monkeypatch), torch.ones(3, 4, dtype=torch.long)
    assert _says(graphed, [1, 2, 3], mask) == [9, 14, 19]
    mask[:, 3] = 0
    assert _says(graphed, [3, 2, 1], mask) == [14, 12, 10]
    assert calls == [3, 3]  # as they are, and into the graph
    assert _says(graphed, [1, 1], mask[:2].clone()) == [8, 9]
    assert calls == [3, 3, 2, 2]


@pytest.mark.parametrize("broken", [{"off": 0.5}, {"fault": "not permitted when stream is capturing"}])
def test_a_graph_that_gives_something_else_is_told_and_not_used(
    broken: dict[str, float | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    graphed, mask = _graphed(monkeypatch, **broken), torch.ones(3, 4, dtype=torch.long)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="sampling is slower"):
        assert _says(graphed, [1, 2, 3], mask) == [9, 14, 19]
    assert _says(graphed, [3, 2, 1], mask) == [17, 14, 11]
    assert calls == [3, 3, 3]
    assert graphed._kept is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = GraphedStep(_step, graphed._decoding)  # type: ignore[arg-type]  # of the next rollout
        assert _says(again, [1, 2, 3], mask) == [9, 14, 19]
    assert calls == [3, 3, 3, 3]


def test_no_graph_is_left_behind_a_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one that died while another lived, PyTorch would give back what the products of both add up in."""
    model = tiny.model()
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    with StaticDecoding(torch.float32)(model, None, None) as step:
        assert isinstance(step, GraphedStep)
        step._kept = object(), (torch.zeros(1), None)
    assert step._kept is None
