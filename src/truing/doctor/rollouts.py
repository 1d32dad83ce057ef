"""What sampling and scoring hold and take, and what a rollout leaves behind."""

from collections.abc import Iterator
from math import ceil

from truing.config.recipe import Recipe
from truing.doctor import tasks
from truing.doctor.passes import Shape
from truing.doctor.phase import Parts, Phase, Work
from truing.doctor.shadow import FEW, Shadow
from truing.doctor.tasks import TIMES, Task
from truing.doctor.work import Episodes, Steps
from truing.kernels.vocabulary import LOGIT_POSITIONS


def sampling(
    stage: str,
    held: Parts,
    said: Episodes,
    shadow: Shadow,
    recipe: Recipe,
    trunk: int = 0,
    most: Episodes | None = None,
) -> Phase:
    """A round of responses; `most` is the largest round there is, where that is another."""
    prefill, step = (shadow.reading((Shape(said.rows, length, 0),)) for length in (said.longest, 1))
    draw = shadow.drawing(said.rows)
    cache = said.rows * said.length * shadow.kept_token()
    parts = held | kept(most or said, shadow, trunk)
    parts |= {"cache": cache, "activations": max(prefill.burst, draw.burst)}
    if recipe.compute.pack_weights:
        parts["packed weights"] = float(shadow.packed)
    adapted = recipe.roles == "shared" and stage != "reward"  # before which the SFT model answers
    work = list(_decoding(said, shadow, "adapter" if adapted else "frozen", recipe.compute.pack_weights))
    rows = frozenset(range(1, said.rows + 1))
    return Phase(stage, "rollout", parts, work, rows, step.compiled + draw.compiled)


def _decoding(said: Episodes, shadow: Shadow, trained: str, pack: bool) -> Iterator[Work]:
    """Weights laid out once, prompts read in groups, and then a step a token.

    A step's time is that of one row, and grows evenly to that of all rows.
    """
    groups = ceil(said.count / said.rows)
    behind = said.padded + min(said.new_tokens // 2, said.new_tokens - TIMES)  # which may be all there is room for

    def work(task: Task, times: float) -> Work:
        return Work(task, trained, shadow.layers, times)

    if pack:
        yield work(tasks.laying_out(), 1)
    yield work(tasks.prefilling(said.rows, said.padded, pack), groups)
    going = [max(1.0, share * said.rows) for share in said.going[1:] if share * said.rows >= 0.5]
    all_rows = sum((rows - 1) / (said.rows - 1) for rows in going) if said.rows > 1 else 0.0
    for rows, steps in ((said.rows, all_rows), (1, len(going) - all_rows)):
        if steps:
            yield work(tasks.decoding(rows, max(1, behind), pack), groups * steps)


def kept(said: Episodes, shadow: Shadow, trunk: int) -> Parts:
    """What responses leave behind: the states they were drawn from and what left the trunk, both also when padded."""
    states = said.count * (said.new_tokens + (said.length if trunk else 0)) * shadow.width * shadow.dtype.itemsize
    return {"rollout": 2.0 * states}


def scoring_phase(recipe: Recipe, held: Parts, rounds: Steps, shadow: Shadow, trunk: int) -> Phase:
    """Reference and critic above the trunk, and the reward model, which begins at the bottom."""
    (part,), (typical,) = rounds.largest, rounds.typical
    trained, upper = "adapter" if recipe.roles == "shared" else "frozen", shadow.layers - trunk
    read = [("frozen", upper), (trained, upper)] + ([(trained, shadow.layers)] if "reward" in recipe.stages else [])
    costs = [shadow.reading((part,), layers, role) for role, layers in read]
    states = 3.0 * part.counted * shadow.width * shadow.dtype.itemsize
    active = max(cost.burst for cost in [*costs, shadow.comparing()]) + states
    work = [Work(tasks.reading(typical), role, layers, rounds.parts) for role, layers in read]
    work.append(Work(tasks.comparing(), "frozen", FEW, rounds.parts * typical.counted / LOGIT_POSITIONS))
    compiled = max(cost.compiled for cost in costs)
    return Phase("ppo", "score", held | {"activations": active}, work, rounds.row_counts, compiled)
