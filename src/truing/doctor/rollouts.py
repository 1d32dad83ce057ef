"""What sampling and scoring hold and take, and what a rollout leaves behind."""

from dataclasses import replace
from math import ceil

from truing.doctor.passes import Shape
from truing.doctor.phase import Parts, Phase, Work
from truing.doctor.shadow import Shadow
from truing.doctor.tally import Cost
from truing.doctor.work import Episodes, Steps
from truing.recipe import Recipe


def sampling(
    stage: str, held: Parts, said: Episodes, shadow: Shadow, pack: bool, trunk: int = 0, most: Episodes | None = None
) -> Phase:
    """A round of responses; `most` is the largest round there is, where that is another."""
    prefill = shadow.reading((Shape(said.rows, max(said.prompts), 0),))
    cache = said.rows * said.length * shadow.kept_token()
    parts = held | kept(most or said, shadow, trunk)
    parts |= {"cache": cache, "activations": max(prefill.burst, shadow.drawing(said.rows).burst)}
    if pack:
        parts["packed weights"] = float(shadow.packed)
    groups = ceil(said.count / said.rows)
    work = [Work(prefill.times(groups), said.rows * max(said.prompts)), _decoding(said, shadow, groups, cache)]
    return Phase(stage, "rollout", parts, work, frozenset(range(1, said.rows + 1)), work[1].cost.compiled)


def _decoding(said: Episodes, shadow: Shadow, groups: int, cache: float) -> Work:
    """Every row reads and draws one token at a step, until it has ended; calls are made for all rows together."""
    step = shadow.reading((Shape(said.rows, 1, 0),)) + shadow.drawing(said.rows) + Cost(moved=cache)
    rows, steps = groups * sum(said.going), groups * sum(share * said.rows >= 0.5 for share in said.going)
    return Work(
        replace(step, operations=step.operations * rows, moved=step.moved * rows, calls=step.calls * steps), said.rows
    )


def kept(said: Episodes, shadow: Shadow, trunk: int) -> Parts:
    """What responses leave behind: the states they were drawn from and what left the trunk, both also when padded."""
    states = said.count * (said.new_tokens + (said.length if trunk else 0)) * shadow.width * shadow.dtype.itemsize
    return {"rollout": 2.0 * states}


def scoring_phase(recipe: Recipe, held: Parts, rounds: Steps, shadow: Shadow, trunk: int) -> Phase:
    """Reference, critic, and the reward model, which begins at the bottom."""
    part = rounds.largest[0]
    states = 3.0 * part.counted * shadow.width * shadow.dtype.itemsize
    active = max(cost.burst for cost in _passes(recipe, part, shadow, trunk)) + states
    typical = rounds.typical[0]
    work = [Work(cost.times(rounds.parts), typical.area) for cost in _passes(recipe, typical, shadow, trunk)]
    compiled = max(piece.cost.compiled for piece in work)
    return Phase("ppo", "score", held | {"activations": active}, work, rounds.row_counts, compiled)


def _passes(recipe: Recipe, part: Shape, shadow: Shadow, trunk: int) -> list[Cost]:
    trained = "adapter" if recipe.roles == "shared" else "frozen"
    upper = shadow.layers - trunk
    reference, critic = shadow.reading((part,), upper), shadow.reading((part,), upper, trained)
    rewarded = [shadow.reading((part,), shadow.layers, trained)] if "reward" in recipe.stages else []
    return [reference, critic, shadow.comparing(part.counted), *rewarded]
