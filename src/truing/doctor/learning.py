"""What learning holds and takes: moments and gradients, what waits for the backward, and copies for a checkpoint."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from truing.config.recipe import Recipe
from truing.doctor import tasks
from truing.doctor.phase import Parts, Phase, Work
from truing.doctor.shadow import Shadow
from truing.doctor.tally import Cost
from truing.doctor.work import Steps


@dataclass(frozen=True)
class Learner:
    """A role that learns."""

    weights: float
    """Bytes of what it learns"""
    largest: Cost
    """Of the largest micro-batch"""
    micro: list[Work]
    """Of the average micro-batch"""
    trained: str
    layers: int


def learner(shadow: Shadow, steps: Steps, full: bool, head: bool, trunk: int = 0, given: bool = False) -> Learner:
    """One that learns in full or through an adapter above a `trunk`, from a `head` or from log-probabilities."""
    trained, layers = "full" if full else "adapter", shadow.layers - trunk
    whole = shadow.backbone if head else shadow.weights
    micro = [Work(tasks.learning(steps.typical, head), trained, layers)]
    if trunk and not given:
        micro += [Work(tasks.reading(shape), "frozen", trunk) for shape in steps.typical]
    largest = shadow.learning(tuple(steps.largest), trained, head, trunk, given)
    return Learner(whole if full else shadow.adapter(trunk), largest, micro, trained, layers)


def learning(
    stage: str,
    held: Parts,
    learners: Sequence[Learner],
    steps: Steps,
    shadow: Shadow,
    recipe: Recipe,
    count: int = 1,
) -> Iterator[Phase]:
    """`count` optimiser steps, a checkpoint where its copies are more, and a quantised base made whole to be saved."""
    trained = sum(role.weights for role in learners)
    held = held | moments(learners)
    gradients, active = worst(learners, steps.repeated, shadow)
    work = [replace(work, times=steps.parts * count) for role in learners for work in role.micro]
    step = tasks.stepping(getattr(recipe, stage).optimiser, recipe.compute)
    work += [Work(step, role.trained, role.layers, count) for role in learners]
    compiled = max(role.largest.compiled for role in learners) / len(steps.typical)
    parts = held | {"gradients": gradients, "activations": active}
    yield Phase(stage, "learn", parts, work, steps.row_counts, compiled)
    if 3 * trained > gradients + active:
        yield Phase(stage, "checkpoint", held | {"copies": 3 * trained})
    if shadow.whole:
        yield Phase(stage, "save", held | {"weights in full precision": shadow.whole})


def moments(learners: Sequence[Learner]) -> Parts:
    """AdamW's two a weight, there from the first optimiser step to the end of the stage."""
    return {"moments": 2 * sum(role.weights for role in learners)}


def worst(learners: Sequence[Learner], repeated: bool, shadow: Shadow) -> tuple[float, float]:
    """(gradients, what else is held for a moment) when most is held in a step.

    Roles take turns, and the gradients of one stay while the other learns. Its own are there from the beginning only
    where it had a micro-batch before; else they build up while activations leave. AdamW takes two copies of a weight.
    """
    times, before = [], 0.0
    for role in learners:
        own = role.weights if repeated else 0.0
        times.append((before + own, role.largest.kept + role.largest.burst))
        before += role.weights
    times.append((before, min(before, 2.0 * shadow.largest)))
    return max(times, key=sum)
