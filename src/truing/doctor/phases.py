"""What each phase of a recipe holds in memory, and what it has to compute in a step.

Weights are held once for each full model, an adapter's moments and gradients beside it; what waits for a backward is
that of the largest micro-batch; what a rollout leaves behind is kept until its update is done.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path

from truing.doctor.shadow import Shadow, Shape
from truing.doctor.tally import Cost
from truing.doctor.work import Episodes, Lengths, Steps, pair_steps, ppo_steps, sampled, scoring, sft_steps
from truing.recipe import Recipe

DRAW = 32
"""Bytes that sampling takes for each row and token of the vocabulary: logits twice, and three times in double"""
KERNEL, KERNELS = 0.5e6, 1024
"""Bytes of a product that oneDNN has compiled, measured; how many of them it keeps"""
ADAM = 7
"""Numbers that AdamW moves for a weight: it reads weight, gradient, two moments, and writes all but the gradient"""

Parts = dict[str, float]
"""Bytes by what they are for"""


@dataclass(frozen=True)
class Work:
    """Something to compute."""

    cost: Cost
    rows: int
    """Tokens that meet a weight at once"""


@dataclass(frozen=True)
class Phase:
    """A part of a stage that has a peak of its own."""

    stage: str
    name: str
    parts: Parts
    work: list[Work] = field(default_factory=list)
    """Of one step, or of one update of PPO"""
    row_counts: frozenset[int] = frozenset()
    """Different numbers of tokens that meet the weights at once, in all its steps"""

    @property
    def bytes(self) -> float:
        """All parts together, without what the process itself takes."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Learner:
    """A role that learns."""

    weights: float
    """Bytes of what it learns"""
    cost: Cost
    """Of the largest micro-batch"""


def phases(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    """Every phase, stage by stage.

    oneDNN compiles a product for each number of rows, forward and backward, and keeps it while the process lives.
    """
    met: set[int] = set()
    for phase in _without_kernels(recipe, shadow, lengths):
        met |= phase.row_counts
        kept = min(KERNELS, 2 * shadow.different * len(met))
        yield replace(phase, parts=phase.parts | {"compiled products": KERNEL * kept})


def _without_kernels(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    stages = {"sft": _sft, "reward": _reward, "ppo": _ppo, "dpo": _dpo}
    for stage in recipe.stages:
        yield from stages[stage](recipe, shadow, lengths)


def _sft(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    full, steps = recipe.sft.method == "full", sft_steps(lengths, recipe)
    learner = _learner(shadow, steps, full, head=False)
    yield from _learning("sft", _model(shadow, full), [learner], steps, shadow)


def _reward(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    full, steps = recipe.roles == "separate", pair_steps(lengths, recipe, "reward")
    base = {"weights": float(shadow.weights)}
    said = sampled(lengths, recipe, recipe.reward.normalisation_samples)
    yield _sampling("reward", base | {"packed weights": shadow.packed}, said, shadow)
    # A copy packed for sampling stays where the weights are frozen.
    held = _model(shadow, full) | ({} if full else {"packed weights": float(shadow.packed)})
    yield from _learning("reward", held, [_learner(shadow, steps, full, head=True)], steps, shadow)


def _ppo(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    settings, full, above = recipe.ppo, recipe.roles == "separate", _above(recipe, shadow)
    trunk = 0 if full else above
    held = _policy_roles(recipe, shadow) | _classifiers(recipe)
    if full:
        held["weights"] += shadow.backbone
    else:
        held["adapters"] += shadow.adapter(trunk)
    said = sampled(lengths, recipe, settings.episodes)
    looked = sampled(lengths, recipe, max(settings.episodes, settings.heldout_prompts))
    yield _sampling("ppo", held | {"packed weights": shadow.packed}, said, shadow, trunk, looked)
    held |= _kept(said, shadow, trunk)
    yield _scoring(recipe, held, scoring(lengths, recipe), shadow, trunk)
    steps = ppo_steps(lengths, recipe)
    learners = [_learner(shadow, steps, full, head, trunk, given=True) for head in (False, True)]
    yield from _learning("ppo", held, learners, steps, shadow, settings.epochs * settings.minibatches)


def _dpo(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    full, steps = recipe.roles == "separate", pair_steps(lengths, recipe, "dpo")
    trunk = 0 if full else _above(recipe, shadow)
    held = _policy_roles(recipe, shadow)
    looked = sampled(lengths, recipe, recipe.ppo.heldout_prompts)
    yield _sampling("dpo", held | {"packed weights": shadow.packed}, looked, shadow, trunk)
    yield from _learning("dpo", held, [_learner(shadow, steps, full, False, trunk)], steps, shadow)


def _model(shadow: Shadow, full: bool) -> Parts:
    """One model that learns, in full or through an adapter."""
    return {"weights": float(shadow.weights)} | ({} if full else {"adapters": shadow.adapter()})


def _policy_roles(recipe: Recipe, shadow: Shadow) -> Parts:
    """Policy, reference, and the reward model where the recipe has one."""
    rewarded = "reward" in recipe.stages
    if recipe.roles == "separate":
        return {"weights": 2.0 * shadow.weights + (shadow.backbone if rewarded else 0)}
    adapters = shadow.adapter(_above(recipe, shadow)) + (shadow.adapter() if rewarded else 0)
    return {"weights": float(shadow.weights), "adapters": adapters, "packed weights": float(shadow.packed)}


def _classifiers(recipe: Recipe) -> Parts:
    """Reward models of other people, by the size of their files."""
    places = [Path(part.path) for part in recipe.ppo.rewards if part.kind == "model" and part.path]
    size = sum(file.stat().st_size for place in places for file in place.glob("*.safetensors"))
    return {"reward classifiers": float(size)} if size else {}


def _above(recipe: Recipe, shadow: Shadow) -> int:
    """Layers below the lowest that policy and critic adapt."""
    return min(shadow.layers - 1, round(shadow.layers * (1 - recipe.lora.layers))) if shadow.layers else 0


def _learner(shadow: Shadow, steps: Steps, full: bool, head: bool, trunk: int = 0, given: bool = False) -> Learner:
    cost = shadow.learning(tuple(steps.largest), "full" if full else "adapter", head, trunk, given)
    if not full:
        return Learner(shadow.adapter(trunk), cost)
    return Learner(shadow.backbone if head else shadow.weights, cost)


def _learning(
    stage: str, held: Parts, learners: Sequence[Learner], steps: Steps, shadow: Shadow, count: int = 1
) -> Iterator[Phase]:
    """`count` optimiser steps; and the copies of weights and moments for a checkpoint, where they are more."""
    trained = sum(learner.weights for learner in learners)
    held = held | {"moments": 2 * trained}
    gradients, active = _worst(learners, steps.repeated, shadow)
    work = [Work(learner.cost.times(steps.share * count), steps.largest[0].area) for learner in learners]
    adam = Cost(moved=ADAM * trained * count)
    yield Phase(
        stage, "learn", held | {"gradients": gradients, "activations": active}, [*work, Work(adam, 1)], steps.row_counts
    )
    if 3 * trained > gradients + active:
        yield Phase(stage, "checkpoint", held | {"copies": 3 * trained})


def _worst(learners: Sequence[Learner], repeated: bool, shadow: Shadow) -> tuple[float, float]:
    """(gradients, what else is held for a moment) when most is held in a step.

    Roles take turns, and the gradients of one stay while the other learns. Its own are there from the beginning only
    where it had a micro-batch before; else they build up while activations leave. AdamW takes two copies of a weight.
    """
    moments, before = [], 0.0
    for learner in learners:
        own = learner.weights if repeated else 0.0
        moments.append((before + own, learner.cost.kept + learner.cost.burst))
        before += learner.weights
    moments.append((before, min(before, 2.0 * shadow.largest)))
    return max(moments, key=sum)


def _sampling(
    stage: str, held: Parts, said: Episodes, shadow: Shadow, trunk: int = 0, most: Episodes | None = None
) -> Phase:
    """A round of responses; `most` is the largest round there is, where that is another."""
    cache = said.rows * said.length * shadow.kept_token()
    prefill = shadow.reading((Shape(said.rows, max(said.prompts), 0),))
    draw = float(DRAW * said.rows * shadow.vocabulary)
    parts = held | _kept(most or said, shadow, trunk) | {"cache": cache, "activations": max(prefill.burst, draw)}
    project = 2.0 * said.rows * shadow.vocabulary * shadow.width
    step = shadow.reading((Shape(said.rows, 1, 0),)) + Cost(operations=project, moved=2 * draw + cache)
    groups = ceil(said.count / said.rows)
    work = [
        Work(prefill.times(groups), said.rows * max(said.prompts)),
        Work(step.times(groups * said.new_tokens), said.rows),
    ]
    return Phase(stage, "rollout", parts, work, frozenset(range(1, said.rows + 1)))


def _kept(said: Episodes, shadow: Shadow, trunk: int) -> Parts:
    """What responses leave behind: the states they were drawn from and what left the trunk, both also when padded."""
    states = said.count * (said.new_tokens + (said.length if trunk else 0)) * shadow.width * shadow.float_bytes
    return {"rollout": 2.0 * states}


def _scoring(recipe: Recipe, held: Parts, rounds: Steps, shadow: Shadow, trunk: int) -> Phase:
    """Reference, critic, and the reward model, which begins at the bottom."""
    part = tuple(rounds.largest)
    trained = "adapter" if recipe.roles == "shared" else "frozen"
    upper = shadow.layers - trunk
    reference, critic = shadow.reading(part, upper), shadow.reading(part, upper, trained)
    compared = shadow.comparing(sum(shape.counted for shape in part))
    passes = [reference, critic, compared]
    if "reward" in recipe.stages:
        passes.append(shadow.reading(part, shadow.layers, trained))
    states = 3.0 * part[0].counted * shadow.width * shadow.float_bytes
    active = max(cost.burst for cost in passes) + states
    work = [Work(cost.times(rounds.share), part[0].area) for cost in passes]
    return Phase("ppo", "score", held | {"activations": active}, work, rounds.row_counts)
