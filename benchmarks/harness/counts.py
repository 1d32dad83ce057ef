"""Operations and bytes of a PPO update as each library carries it out, row by row: see docs/performance.md.

What a pass through a model costs is counted in `truing.estimate.work`. Recomputation is left out: it is not needed, it
saves memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from truing.estimate.work import adapters, forward, learning, linear
from truing.preflight.layouts import Shape

FLOAT = 4
"""Bytes of a weight"""
ADAM = 7 * FLOAT
"""Bytes that AdamW moves for a trained weight: reads weight, gradient and two moments, writes all but the gradient"""


def shape_of_config(config: Mapping[str, Any]) -> Shape:
    """From the config.json of a Llama-like model, without loading what could build one."""
    weights, hidden = linears(config), config["hidden_size"]
    (_, queries), (_, keys) = weights[:2]
    projection = config["vocab_size"] * hidden
    return Shape(
        layers=config["num_hidden_layers"],
        width=hidden,
        query_width=queries,
        key_width=keys,
        products=sum(a * b for a, b in weights),
        ends=sum(a + b for a, b in weights),
        others=2 * hidden,
        vocabulary=projection if config["tie_word_embeddings"] else 2 * projection,
        projection=projection,
        rest=hidden,
    )


def linears(config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(inputs, outputs) of each linear layer in one layer of a Llama-like model: query, key, value and so on."""
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    width, narrow = head * heads, head * config["num_key_value_heads"]
    return [(hidden, width), *2 * [(hidden, narrow)], (width, hidden), *2 * [(hidden, inner)], (inner, hidden)]


@dataclass(frozen=True)
class Unit:
    """One PPO update."""

    prompts: tuple[int, ...]
    """Tokens of each prompt"""
    responses: tuple[int, ...]
    """Tokens of each response"""
    epochs: int
    minibatches: int

    @property
    def tokens(self) -> int:
        return sum(self.prompts) + self.new_tokens

    @property
    def new_tokens(self) -> int:
        """Response tokens."""
        return sum(self.responses)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each prompt and response together."""
        return [p + r for p, r in zip(self.prompts, self.responses, strict=True)]


@dataclass(frozen=True)
class Layout:
    """Which weights learn."""

    rank: int | None
    """Of the adapters; None: all weights learn"""
    adapted: int
    """Layers from the top that policy and critic adapt; below them all roles are one function, computed once"""
    reward_adapted: int
    """The same of the reward model"""
    projected: Literal["responses", "all"] = "responses"
    """Positions whose logits are computed in scoring and learning"""
    full_critic: bool = False
    """Whether the critic learns in all its weights whatever the policy does (TRL with `peft_config`)"""
    exact_kl: bool = True
    """Whether the policy's whole distribution is compared with the reference's, which projects its states again"""


@dataclass(frozen=True)
class Cost:
    """What must be computed, and what must be read and written meanwhile."""

    operations: float
    bytes: float

    def seconds(self, rate: float, bandwidth: float) -> float:
        """At least, at so many operations and bytes a second: the two can overlap."""
        return max(self.operations / rate, self.bytes / bandwidth)


def rollout(shape: Shape, unit: Unit, layout: Layout) -> list[Cost]:
    """The prompts at once, then step by step the rows that are not finished."""
    pairs = list(zip(unit.prompts, unit.responses, strict=True))
    prefill = forward(shape, unit.prompts, shape.layers, None) + 2 * shape.projection * len(pairs)
    prefill += adapters(shape, sum(unit.prompts), layout.adapted, layout.rank)
    steps = [[p + step for p, r in pairs if r > step] for step in range(1, max(unit.responses))]
    return [Cost(prefill, weights(shape)), *(decode(shape, contexts, layout) for contexts in steps)]


def decode(shape: Shape, contexts: Sequence[int], layout: Layout) -> Cost:
    """One new token for each row, which sees so many; every weight and every kept key and value is read."""
    rows, seen = len(contexts), sum(contexts)
    operations = linear(shape, rows, shape.layers) + adapters(shape, rows, layout.adapted, layout.rank)
    operations += 4.0 * shape.layers * shape.query_width * seen + 2 * shape.projection * rows
    return Cost(operations, weights(shape) + FLOAT * shape.layers * 2 * shape.key_width * seen)


def weights(shape: Shape) -> float:
    """Bytes of all that a forward reads."""
    return FLOAT * float(shape.layers * shape.products + shape.projection)


def score(shape: Shape, unit: Unit, layout: Layout) -> list[Cost]:
    """Reference, critic and reward model, each from the lowest layer that is not the same for all."""
    lengths = unit.lengths
    logits = 2.0 * shape.projection * projected(unit, layout)
    reference = forward(shape, lengths, layout.adapted, None) + logits + (logits if layout.exact_kl else 0)
    critic = forward(shape, lengths, layout.adapted, None if layout.full_critic else layout.rank)
    reward = forward(shape, lengths, layout.reward_adapted, layout.rank)
    return [Cost(reference + critic + reward, 0.0)]


def learn(shape: Shape, unit: Unit, layout: Layout) -> list[Cost]:
    """Every epoch through policy and critic, and the optimiser's steps."""
    critic_rank = None if layout.full_critic else layout.rank
    passes = 3 if layout.rank is None else 2
    policy = learning(shape, unit.lengths, layout.adapted, layout.rank)
    policy += passes * 2.0 * shape.projection * projected(unit, layout)
    critic = learning(shape, unit.lengths, layout.adapted, critic_rank)
    steps = unit.epochs * unit.minibatches
    moved = steps * ADAM * (learnt(shape, layout.adapted, layout.rank) + learnt(shape, layout.adapted, critic_rank))
    return [Cost(unit.epochs * (policy + critic), 0.0), Cost(0.0, moved)]


def projected(unit: Unit, layout: Layout) -> int:
    """Positions whose logits are computed in a pass."""
    return unit.new_tokens if layout.projected == "responses" else unit.tokens


def learnt(shape: Shape, layers: int, rank: int | None) -> float:
    """Weights of a role that learns; norms and the scalar head are left out."""
    return float(shape.layers * shape.products + shape.projection if rank is None else layers * shape.ends * rank)


def update(shape: Shape, unit: Unit, layout: Layout) -> dict[str, list[Cost]]:
    """What each phase of a PPO update must do, in parts that follow one another."""
    return {phase.__name__: phase(shape, unit, layout) for phase in (rollout, score, learn)}


def operations(phases: Mapping[str, Sequence[Cost]]) -> float:
    return sum(cost.operations for costs in phases.values() for cost in costs)


def layouts(layers: int, rank: int) -> dict[str, Layout]:
    """What the benchmarks compare, by name, for a model of so many layers."""
    third = max(1, round(layers / 3))
    trl: dict[str, Any] = {"projected": "all", "exact_kl": False}
    return {
        "separate": Layout(None, layers, layers),
        "shared": Layout(rank, layers, layers),
        "shared-third": Layout(rank, third, layers),
        "trl": Layout(None, layers, layers, **trl),
        "trl-peft": Layout(rank, layers, layers, full_critic=True, **trl),
    }
