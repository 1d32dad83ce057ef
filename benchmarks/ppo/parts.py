"""Where the seconds of an update's learning go: each operator's own time, put to the part of the work that it serves.

    python benchmarks/ppo/parts.py [--tiny] [--model DIR] [--layouts shared separate] [--episodes N] [--rounds 3]

The same experience is learnt again and again, with a clock on each operator and without one. Prints a table of medians,
in milliseconds.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from types import FrameType
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from harness.environments import default_cache
from harness.material import write_llama, write_reward
from harness.tables import table
from ppo.alone import Alone, alone
from ppo.sides import NAMES, OURS, RANK
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from truing.kernels.backbone import known_layers
from truing.kernels.cpu.products import computed_by
from truing.pipeline.products import products_of_machine
from truing.stages import update

FUNCTIONS = {
    "_Normed": "norms",
    "_Gated": "gates",
    "_Rotated": "rotary embedding",
    "_Attention": "attention",
    "_Added": "sums of the residual stream",
    "_Logprobs": "vocabulary: softmax and its slopes",
    "Adam": "AdamW",
}
"""What all that is called inside of these classes serves, forward and backward, products apart"""
LAYERS, WEIGHTS, NARROW = "products of layers", "gradients of weights", "adapters: narrow products, merging"
VOCABULARY, OTHERS = "vocabulary: products", "other operators"
PARTS = (LAYERS, WEIGHTS, NARROW, VOCABULARY, *FUNCTIONS.values(), OTHERS)
PRODUCTS = ("mkldnn::_linear_pointwise", "aten::mm", "aten::addmm", "aten::addmm_")


@dataclass(frozen=True)
class Widths:
    """What tells one product from another."""

    layers: frozenset[int]
    """Both sizes of each weight of a layer"""
    vocabulary: int

    def product(self, operator: str, matrices: Sequence[torch.Size]) -> str | None:
        """What an operator on these matrices serves; None where it is no product of two."""
        if operator not in PRODUCTS or len(matrices) < 2:
            return None
        sizes = {size for matrix in matrices for size in matrix}
        if self.vocabulary in sizes:
            return VOCABULARY
        if RANK <= min(sizes) <= 3 * RANK:  # up to three adapters lie side by side
            return NARROW
        rows = matrices[1 if "addmm" in operator else 0]
        return LAYERS if rows[1] in self.layers else WEIGHTS


class Clocks(TorchDispatchMode):
    """Milliseconds of the operators of each part. A profiler's events lie where freed memory was, which costs more."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self._widths = widths
        self.parts = dict.fromkeys(PARTS, 0.0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        begun = perf_counter()
        found = func(*args, **(kwargs or {}))
        took = perf_counter() - begun
        matrices = [one.shape for one in args if isinstance(one, Tensor) and one.dim() == 2]
        part = self._widths.product(func._schema.name, matrices) or caller(sys._getframe())
        self.parts[part] += 1000 * took
        return found


def caller(frame: FrameType | None) -> str:
    """What the nearest of the known functions around a frame serves."""
    while frame is not None:
        if (known := FUNCTIONS.get(frame.f_code.co_qualname.partition(".")[0])) is not None:
            return known
        frame = frame.f_back
    return OTHERS


def learning_of(side: Alone) -> Callable[[], object]:
    """The learning of one update, which can be repeated."""
    learn, told = update.learn, []

    def keep(*asked: Any) -> dict[str, float]:
        told[:] = asked
        return {}

    with patch.object(update, "learn", keep), side.forced:
        side.run(1)
    return lambda: learn(*told)


def clocked(learning: Callable[[], object], widths: Widths) -> dict[str, float]:
    """Milliseconds of each part of it."""
    with Clocks(widths) as clocks:
        learning()
    return clocks.parts


def whole(learning: Callable[[], object]) -> float:
    """Milliseconds of it."""
    begun = perf_counter()
    learning()
    return (perf_counter() - begun) * 1000


def column(layout: str, model: Path, reward: Path, episodes: int, threads: int, rounds: int) -> list[float]:
    """Of each part, of all, and measured whole without clocks."""
    torch.set_num_threads(threads)
    with computed_by(products_of_machine(threads)):
        side = alone(layout, model, reward, episodes, threads)
        widths, learning = widths_of(side.roles.policy.model), learning_of(side)
        learning()
        turns = [(whole(learning), clocked(learning, widths)) for _ in range(rounds)]
    parts = [median(found[part] for _, found in turns) for part in PARTS]
    return [*parts, median(sum(found.values()) for _, found in turns), median(alone for alone, _ in turns)]


def widths_of(model: PreTrainedModel) -> Widths:
    """Those of its layers, adapters left out."""
    named = known_layers(model, hint="").named_parameters()
    shapes = [weight.shape for name, weight in named if weight.dim() == 2 and "lora_" not in name]
    return Widths(frozenset(size for shape in shapes for size in shape), model.config.vocab_size)


def main() -> None:
    """Each layout that is asked for, as a table."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--tiny", action="store_true", help="the model of 1M parameters that run.py has")
    asked.add_argument("--model", type=Path, default=default_cache().parent / "movies" / "base", help="(%(default)s)")
    asked.add_argument("--layouts", nargs="+", choices=list(OURS), default=["shared", "separate"])
    asked.add_argument("--episodes", type=int, help="responses an update (128 for --tiny, else 16)")
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--rounds", type=int, default=3)
    told = asked.parse_args()
    episodes = told.episodes or (128 if told.tiny else 16)
    with tempfile.TemporaryDirectory() as scratch:
        model, reward = Path(scratch) / "llama" if told.tiny else told.model, Path(scratch) / "reward"
        if told.tiny:
            write_llama(model)
        write_reward(model, reward, RANK)
        work = partial(column, model=model, reward=reward, episodes=episodes, threads=told.threads, rounds=told.rounds)
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as each:  # none finds another's memory
            found = list(each.map(work, told.layouts))
    names = [*PARTS, "all operators", "measured whole, without clocks"]
    rows = [[name, *(f"{size:,.0f}" for size in row)] for name, *row in zip(names, *found, strict=True)]
    print(table(["part", *(NAMES[name] for name in told.layouts)], rows))


if __name__ == "__main__":
    main()
