"""The machine's two ceilings: products a second at a model's own shapes, and bytes read from memory a second.

As a script (it is a side like any other) it measures them; `Ceilings` is what the pages reckon with.
"""

import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.child import report, work
from harness.counts import Cost, linears
from truing.core.processor import limits

ROWS = (1, 8, 32, 64, 256, 768)
FEW = 8
"""Rows that packed weights are laid out for, as where a policy samples"""
WIDTHS = {"avx512f": "AVX-512", "avx2": "AVX2"}
"""What products are computed by, the widest first, as the system calls it and as people do"""
BUFFER = 2**28
"""Bytes read at once: larger than any cache"""


def processor() -> str:
    """Its name, family and model, how wide it computes, where the system says, and what holds kernels to less."""
    said = _said_of_processor()
    if not said:
        return platform.processor() or platform.machine()
    which = [f"{of} {said[key]}" for of, key in (("family", "cpu family"), ("model", "model")) if key in said]
    which += [known for feature, known in WIDTHS.items() if feature in said.get("flags", "").split()][:1]
    units = f"{'with' if has_matrix_units() else 'without'} matrix units"
    return ", ".join([f"{said.get('model name', platform.machine())} ({', '.join([*which, units])})", *limits()])


def has_matrix_units() -> bool:
    """Whether this processor has units that multiply whole tiles: some targets are others then."""
    return "amx_tile" in _said_of_processor().get("flags", "").split()


def _said_of_processor() -> dict[str, str]:
    """What the system says of its first core; nothing where it says nothing."""
    said: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            said.setdefault(name.strip(), value.strip())
    return said


@dataclass(frozen=True)
class Ceilings:
    """What this machine can do at best."""

    rates: dict[str, float]
    """Operations a second of the model's linear layers, weighted by their sizes, by kind and rows: 'plain 8'"""
    bandwidth: float
    """Bytes a second"""

    @property
    def rate(self) -> float:
        """The best of them all, operations a second."""
        return max(self.rates.values())

    def seconds(self, costs: Sequence[Cost]) -> float:
        """The least time for parts that follow one another."""
        return sum(cost.seconds(self.rate, self.bandwidth) for cost in costs)


def ceilings(outcome: Mapping[str, Any]) -> Ceilings:
    """From what a side with this script reported."""
    return Ceilings(outcome["facts"]["rates"], outcome["facts"]["bandwidth"])


def shapes(config: Mapping[str, Any]) -> Counter[tuple[int, int]]:
    """(inputs, outputs) of every linear layer of a Llama-like model, and how many there are."""
    return Counter(config["num_hidden_layers"] * linears(config) + [(config["hidden_size"], config["vocab_size"])])


def rates(config: Mapping[str, Any]) -> dict[str, float]:
    """Operations a second of PyTorch's plain products, of oneDNN's, and of oneDNN's with packed weights."""
    seconds: dict[str, float] = {}
    for (inputs, outputs), times in shapes(config).items():
        for name, product in products(inputs, outputs).items():
            for rows in ROWS:
                key = f"{name} {rows}"
                seconds[key] = seconds.get(key, 0.0) + times * timed(product, rows, inputs)
    weights = sum(outputs * inputs * times for (inputs, outputs), times in shapes(config).items())
    return {key: 2 * int(key.split()[1]) * weights / took for key, took in seconds.items()}


def products(inputs: int, outputs: int) -> dict[str, Callable[..., Any]]:
    """The ways to multiply (rows, inputs) by an (outputs, inputs) weight, by name."""
    import torch

    weight = torch.randn(outputs, inputs)
    found: dict[str, Callable[..., Any]] = {"plain": lambda x: torch.nn.functional.linear(x, weight)}
    if torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, FEW)
        for name, laid_out in (("oneDNN", weight), ("packed", packed)):
            found[name] = partial(_one_dnn, laid_out)
    return found


def _one_dnn(weight: Any, rows: Any) -> Any:
    import torch

    return torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")


def timed(product: Callable[..., Any], rows: int, inputs: int) -> float:
    """Seconds of one product, the best of some."""
    import torch

    x = torch.randn(rows, inputs)
    return min(lap(lambda: product(x)) for _ in range(9))


def bandwidth() -> float:
    """Bytes a second of a sum over a large buffer, the best of some."""
    import torch

    buffer = torch.ones(BUFFER // 4)
    return BUFFER / min(lap(buffer.sum) for _ in range(7))


def lap(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    """Both ceilings, at the shapes of the model in the directory that is told."""
    import torch

    told = work()
    config = json.loads((Path(told["model"]) / "config.json").read_text(encoding="utf-8"))
    with torch.no_grad():
        report(told, {}, rates=rates(config), bandwidth=bandwidth())


if __name__ == "__main__":
    main()
