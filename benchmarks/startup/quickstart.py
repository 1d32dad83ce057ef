"""What `truing run quickstart` spends on each part of its work, in seconds of processor time.

    python benchmarks/startup/quickstart.py

One run, in a temporary directory, on a core that should have nothing else to do. A part's seconds are its own: those of
another part within it are that one's. Prints a table for docs/performance.md.
"""

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from time import process_time
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib.pyplot  # noqa: F401
import peft  # noqa: F401
from harness.tables import table

import truing.stages.ppo  # noqa: F401
from truing.cli import run
from truing.evaluation.heldout import HeldoutEvaluator
from truing.pipeline import execute
from truing.rollout.ahead import Rollouts
from truing.stages import reward, sft, update

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "quickstart.yaml"
IMPORTS, CHECKS = "imports: torch, transformers, peft, matplotlib", "the world, checks, rehearsal, rows kept"
STAGES = "loading and saving models, logs, checkpoints"
CALLS: tuple[tuple[Any, str, str], ...] = (
    (execute, "run_stage", STAGES),
    (sft, "learn_rows", "SFT: steps"),
    (sft, "heldout_loss", "SFT: evaluations"),
    (reward, "learn_rows", "reward model: steps"),
    (reward, "pair_scores", "reward model: held-out pairs, report card"),
    (reward, "checks_on_rows", "reward model: held-out pairs, report card"),
    (reward, "reference_samples", "reward model: held-out pairs, report card"),
    (Rollouts, "rollout", "PPO: rollouts and rewards"),
    (update, "scores_of", "PPO: rollouts and rewards"),
    (update, "score_rollout", "PPO: reference and critic asked"),
    (update, "learn", "PPO: learning"),
    (HeldoutEvaluator, "evaluate", "PPO: evaluations"),
    (execute, "release_memory", "memory given back between stages"),
    (run, "write_report", "report and closing table"),
    (run, "closing_table", "report and closing table"),
)
"""Where a function is called from, its name there, and the part that it is"""


class Parts:
    """Processor time by part: what is begun within a part is no longer of it, until that ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open = [IMPORTS]
        self._since = 0.0  # of this process, imports and all

    def _turn(self) -> None:
        now = process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def within(self, part: str) -> Iterator[None]:
        """Inside, time is this part's."""
        self._turn()
        self._open.append(part)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def told(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time is the part's."""

        @wraps(function)
        def timed(*args: Any, **named: Any) -> Any:
            with self.within(part):
                return function(*args, **named)

        return timed


def quickstart(parts: Parts) -> None:
    """One run, each of whose calls tells its part."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as place:
        for where, name, part in CALLS:
            stack.enter_context(patch.object(where, name, parts.told(part, getattr(where, name))))
        with parts.within(CHECKS):
            run.run_command(RECIPE, Path(place) / "run", [], None)


def main() -> None:
    parts = Parts()
    quickstart(parts)
    found = {part: parts.seconds[part] for part in dict.fromkeys([IMPORTS, CHECKS, *(part for *_, part in CALLS)])}
    rows = [(part, f"{spent:.1f}") for part, spent in found.items()]
    print(table(("part", "seconds"), [*rows, ("all", f"{sum(found.values()):.1f}")]))


if __name__ == "__main__":
    main()
