"""Operator calls of one PPO update of the tiny model, by phase and layout: what a small model's time goes into.

    python benchmarks/ppo/calls.py

Views count too, and what a backward calls. Prints a table.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.material import write_llama, write_reward
from harness.tables import table
from ppo.alone import alone
from ppo.sides import NAMES, OURS, RANK
from torch.utils._python_dispatch import TorchDispatchMode

from truing.stages import update
from truing.stages.policy_result import PHASES

EPISODES = 128


class Calls(TorchDispatchMode):
    """Counts what reaches PyTorch's operators."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def counted(calls: Calls) -> Iterator[None]:
    """Inside, what an update gives as the seconds of its phases are their calls."""

    class Counter:
        seconds = 0

        def __enter__(self) -> None:
            self.seconds -= calls.count

        def __exit__(self, *fault: object) -> None:
            self.seconds += calls.count

    with patch.object(update, "Stopwatch", Counter), calls:
        yield


def calls_of(layout: str, model: Path, reward: Path) -> dict[str, float]:
    """Of each phase, in a layout of the roles."""
    side = alone(layout, model, reward, EPISODES, threads=1)
    with side.forced:
        side.warm_up()
        with counted(Calls()):
            metrics = side.run(2)
    return {phase.removesuffix("_s"): metrics[phase] for phase in PHASES}


def main() -> None:
    """Each of our layouts, as a table."""
    with tempfile.TemporaryDirectory() as scratch:
        model, reward = Path(scratch) / "llama", Path(scratch) / "reward"
        write_llama(model)
        write_reward(model, reward, RANK)
        found = {name: calls_of(name, model, reward) for name in OURS}
    phases = list(found["shared"])
    rows = [[NAMES[name], *(f"{own[phase]:,}" for phase in phases)] for name, own in found.items()]
    print(table(["side", *phases], rows))


if __name__ == "__main__":
    main()
