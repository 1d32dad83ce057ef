"""The page of the PPO benchmarks."""

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import fill

from harness import counts
from harness.machine import Ceilings, has_matrix_units
from harness.sides import Measured
from harness.tables import Target, gigabytes, rates, table
from harness.tables import targets as as_table
from ppo.sides import NAMES, OURS, TRL, Work

INTRODUCTION = """
# PPO, side by side with TRL

One PPO update by truing and by TRL 1.12, the last TRL with PPO, in one run. Written by `python benchmarks/ppo/run.py`.

Both sides have the same weights, the same prompts (random tokens), float32 on the CPU, dropout off, adapters of rank 8
on every linear layer where there are adapters, and take the same optimiser steps; the run is refused where the counted
tokens or the steps differ. Every response has exactly the told number of tokens: TRL's default is that nothing stops
one, and on our side the eos is a token that is never drawn. Each side is a process of its own that first makes a short
update (2 tokens, 1 epoch). Memory is the most that the process had resident, loading included.

Where TRL's ways change the work:

- `num_mini_batches` has an effect only where gradients are not accumulated ([parity](parity.md#optimiser-steps)). So
  the whole update is one micro-batch there (`gradient_accumulation_steps=1`), and TRL takes the steps it is asked for.
- With `peft_config` only the policy has an adapter. The value model learns in all its weights, and the reward model
  is a third full model.
- Its gradient checkpointing, on by default, is off: it would be slower, and take less memory.
- It computes logits at every position; ours at response positions, and for the exact KL once more for the policy.
- Gradients are never clipped there.

`of its ceiling` is the least time in which this machine could do the phase's own operations, at the best rate measured
for products of the model's own shapes and at the rate at which memory is read, over the time it took
([what is counted](../performance.md)). Products are PyTorch's own (*plain*), oneDNN's on the weights as they lie, and
oneDNN's on packed weights. Targets are those of processors of this one's kind, with matrix units or without.
"""
TITLES = {"model": "ppo_full and ppo_shared", "tiny": "ppo_tiny"}
PHASES = ("rollout", "score", "learn")


@dataclass(frozen=True)
class Section:
    """One work and what was measured."""

    title: str
    work: Work
    measured: dict[str, Measured]
    ceilings: Ceilings

    def bound(self, name: str, *phases: str) -> float:
        """Seconds that these phases take at least."""
        costs = self.work.phases(name)
        return sum(self.ceilings.seconds(costs[phase]) for phase in phases)

    def over_bound(self, name: str) -> float:
        """Whole update over its own operations at the ceilings."""
        return self.measured[name].total / self.bound(name, *PHASES)


def section(of: Section) -> str:
    """Its work in words, its ceilings, and a row a side."""
    work, config = of.work, of.work.config
    shape = counts.shape_of_config(config)
    parameters = shape.layers * shape.products + shape.projection
    about = (
        f"A {config['model_type'].capitalize()} of {parameters / 1e6:.1f}M parameters "
        f"({shape.layers} layers, width {config['hidden_size']}, vocabulary {config['vocab_size']:,}); "
        f"{len(work.lengths)} prompts of {work.prompt} tokens, {work.lengths[0]} new tokens each, "
        f"{work.epochs} epochs, {work.minibatches} minibatches. Ceilings: {of.ceilings.rate / 1e9:.1f} GFLOP/s, "
        f"{of.ceilings.bandwidth / 1e9:.1f} GB/s."
    )
    head = ["side", *(f"{phase}, s" for phase in PHASES), "update, s", "slowest/fastest", "peak, GB", "GFLOP"]
    rows = [[NAMES[name], *figures(of, name)] for name in of.measured]
    shares = [[NAMES[name], *map(share, fractions(of, name))] for name in of.measured]
    nearness = table(["of its ceiling", *PHASES, "update"], shares)
    return "\n\n".join([f"## {TITLES[of.title]}", fill(about, 120), table(head, rows), nearness, rates(of.ceilings)])


def figures(of: Section, name: str) -> Iterator[str]:
    """The cells of a side's row."""
    side = of.measured[name]
    yield from (f"{side.median(phase):.2f}" for phase in PHASES)
    yield f"{side.total:.2f}"
    yield f"{side.spread:.2f}"
    yield gigabytes(side.peak)
    yield f"{counts.operations(of.work.phases(name)) / 1e9:,.0f}"


def fractions(of: Section, name: str) -> Iterator[float]:
    """How near each phase, and the whole, is to what the machine could do."""
    yield from (of.bound(name, phase) / of.measured[name].median(phase) for phase in PHASES)
    yield 1 / of.over_bound(name)


def share(value: float) -> str:
    return f"{value:.2f}"


def ratios(of: Section) -> str:
    """Each of ours against each of TRL's: how many times faster, and the share of its memory."""
    peers = [name for name in TRL if name in of.measured]
    head = ["", *(f"{what} {NAMES[peer]}" for peer in peers for what in ("times as fast as", "memory over"))]
    rows = []
    for name in (name for name in OURS if name in of.measured):
        ours, cells = of.measured[name], []
        for peer in (of.measured[name] for name in peers):
            cells += [share(peer.total / ours.total), share(ours.peak / peer.peak)]
        rows.append([NAMES[name], *cells])
    return table(head, rows)


@dataclass(frozen=True)
class Wanted:
    """What was to be reached on a kind of processor."""

    beside: tuple[tuple[str, str, float, float], ...]
    """Ours, peer, how many times faster, and the share of its memory"""
    over_bound: float
    """The update over its own operations, in any layout"""


WITH_MATRIX_UNITS = Wanted(
    (
        ("shared-third", "trl", 4.5, 0.28),
        ("shared-third", "trl-peft", 4.5, 0.40),
        ("shared", "trl", 2.5, 0.28),
        ("shared", "trl-peft", 2.5, 0.40),
        ("separate", "trl", 1.1, 0.8),
    ),
    1.4,
)
WITHOUT = Wanted(
    (("shared-third", "trl", 3.5, 0.28), ("shared", "trl", 1.8, 0.28), ("separate", "trl", 1.15, 0.91)),
    1.5,
)
TINY_WANTED = 3.0
"""How many times as fast as TRL's four models a tiny model's update is, in any layout"""


def targets(of: Section) -> str:
    """What was to be reached."""
    return as_table(wanted(of))


def wanted(of: Section) -> Iterator[Target]:
    """Of the model time, memory and nearness to the ceilings; of the tiny one time alone."""
    if of.title == "tiny":
        for name in (name for name in OURS if name in of.measured and "trl" in of.measured):
            ratio = of.measured["trl"].total / of.measured[name].total
            yield Target(f"tiny, {NAMES[name]} against {NAMES['trl']}: times faster", TINY_WANTED, ratio)
        return
    here = WITH_MATRIX_UNITS if has_matrix_units() else WITHOUT
    for ours, peer, faster, memory in here.beside:
        if ours in of.measured and peer in of.measured:
            a, b = of.measured[ours], of.measured[peer]
            both = f"{NAMES[ours]} against {NAMES[peer]}"
            yield Target(f"{both}: times faster", faster, b.total / a.total)
            yield Target(f"{both}: memory", memory, a.peak / b.peak, at_most=True)
    for name in of.measured:
        if name in OURS:
            yield Target(f"{NAMES[name]}: update over its own operations", here.over_bound, of.over_bound(name), True)
