"""Tokens a second of the sampler and of Hugging Face generate, and how near each is to what the machine can do.

    python benchmarks/rollout/run.py [--cache DIR] [--model DIR] [--batches 1 8 32 64] [--new-tokens 32] [--rounds 3]

Writes docs/results/performance-rollout.md. Hugging Face generate runs in TRL's environment, which the first run builds.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import counts, tables
from harness.environments import environment
from harness.machine import Ceilings
from harness.options import Options, options, parser
from harness.prompts import prompts
from harness.sides import Measured, Side, alternate, refuse_unequal
from harness.tables import Target, table
from ppo.sides import RANK, THIRD

from truing.preflight.layouts import Shape

HERE = Path(__file__).resolve().parent
INTRODUCTION = """
# Rollouts, side by side with Hugging Face generate

Responses of the same model to the same prompts at one temperature, by truing's sampler and by `generate` with a cache.
Written by `python benchmarks/rollout/run.py`. Every response has exactly the told number of new tokens, on both sides.
Each side is a process of its own and first samples two tokens of every batch. Ours also keeps each token's
log-probability and hidden state, which `generate` does not.

The ceiling is the least time for the batch's own operations and bytes ([what is counted](../performance.md)): the
prompts once, then every weight read once a step. `nearer` says which of the two ceilings a step meets first.
"""
NAMES = {"base": "truing, the base", "policy": "truing, policy adapted in all layers", "generate": "generate"}
NAMES |= {"policy-third": "truing, policy adapted in the top third"}
PROMPT = 16
FASTER = {1: 2, 8: 3, 32: 2}
"""How many times as fast as `generate` responses of so many rows were to be"""


@dataclass(frozen=True)
class Batch:
    """Rows that are sampled side by side."""

    rows: int
    new_tokens: int

    def told(self, vocabulary: int) -> dict[str, object]:
        """As the sides read it."""
        asked = prompts(self.rows, PROMPT, vocabulary)
        return {"name": str(self.rows), "prompts": asked, "lengths": [self.new_tokens] * self.rows}

    def costs(self, shape: Shape, layout: counts.Layout) -> list[counts.Cost]:
        """The prompts, then one for each step."""
        unit = counts.Unit((PROMPT,) * self.rows, (self.new_tokens,) * self.rows, 1, 1)
        return counts.rollout(shape, unit, layout)


def sides(choices: Options, batches: list[Batch]) -> list[Side]:
    told = {
        "model": str(choices.model),
        "rank": RANK,
        "repeats": 1,
        "batches": [batch.told(choices.config["vocab_size"]) for batch in batches],
    }
    ours = Path(sys.executable), HERE / "ours.py"
    return [
        Side("base", *ours, told | {"adapted": False, "lora": {}}),
        Side("policy", *ours, told | {"adapted": True, "lora": {}}),
        Side("policy-third", *ours, told | {"adapted": True, "lora": THIRD}),
        Side("generate", environment("trl-1.12", choices.cache), HERE / "peer.py", told),
    ]


def layout(name: str, layers: int) -> counts.Layout:
    """The adapters that a side samples with."""
    known = counts.layouts(layers, RANK)
    return {"policy": known["shared"], "policy-third": known["shared-third"]}.get(name, known["separate"])


def results(measured: dict[str, Measured], batches: list[Batch], shape: Shape, found: Ceilings) -> str:
    """A row for each batch."""
    speeds, shares = [], []
    for batch in batches:
        key, tokens = str(batch.rows), batch.rows * batch.new_tokens
        took = {name: side.median(key) for name, side in measured.items()}
        costs = {name: batch.costs(shape, layout(name, shape.layers)) for name in measured}
        step = costs["generate"][-1]
        nearer = "products" if step.operations / found.rate > step.bytes / found.bandwidth else "reading"
        ratio = took["generate"] / took["base"]
        speeds.append([batch.rows, *(f"{tokens / seconds:.1f}" for seconds in took.values()), f"{ratio:.2f}"])
        shares.append([batch.rows, *(f"{found.seconds(costs[n]) / took[n]:.2f}" for n in measured), nearer])
    names = [NAMES[name] for name in measured]
    peaks = ["peak, GB", *(tables.gigabytes(side.peak) for side in measured.values()), ""]
    faster = table(["tokens/s at batch", *names, "base over generate"], [*speeds, peaks])
    return f"{faster}\n\n{table(['of the ceiling at batch', *names, 'nearer'], shares)}"


def wanted(measured: dict[str, Measured], batches: list[Batch], shape: Shape, found: Ceilings) -> list[Target]:
    """What was to be reached, for the batches that were run."""
    targets = []
    for batch in batches:
        key, costs = str(batch.rows), batch.costs(shape, layout("base", shape.layers))
        took, theirs = measured["base"].median(key), measured["generate"].median(key)
        if batch.rows in FASTER:
            targets.append(Target(f"batch {key}: times as fast as generate", FASTER[batch.rows], theirs / took))
        if batch.rows in (1, 64):
            targets.append(Target(f"batch {key}: of the nearer ceiling", 0.5, found.seconds(costs) / took))
    return targets


def main() -> None:
    """Measure, print, write the page."""
    asked = parser(__doc__ or "", "performance-rollout.md")
    asked.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64], help="rows side by side")
    asked.add_argument("--new-tokens", type=int, default=32, help="of each response (%(default)s)")
    asked.add_argument("--without", nargs="+", default=[], help="sides to leave out, such as policy-third")
    told = asked.parse_args()
    choices, batches = options(told), [Batch(rows, told.new_tokens) for rows in told.batches]
    run = [side for side in sides(choices, batches) if side.name not in told.without]
    measured = alternate(run, choices.rounds, choices.scratch("rollout"), choices.threads)
    refuse_unequal(measured)
    shape, found = counts.shape_of_config(choices.config), choices.ceilings()
    facts = measured, batches, shape, found
    tables.write(
        choices.page,
        INTRODUCTION,
        results(*facts),
        tables.targets(wanted(*facts)),
        f"This machine's ceilings: {found.rate / 1e9:.1f} GFLOP/s, and {found.bandwidth / 1e9:.1f} GB/s read.",
        tables.rates(found),
        choices.conditions,
    )
    tables.tell(wanted(*facts))


if __name__ == "__main__":
    main()
