"""What a recipe leaves out is chosen once, before a stage begins, and told."""

from collections.abc import Sequence
from typing import Any

from truing.config.defaults import (
    THREADS,
    choices,
    few_steps,
    in_words,
    left_out,
    sizes_in_words,
    sizes_left_out,
    with_choices,
)
from truing.config.plan import Planned
from truing.config.recipe import Recipe
from truing.config.stages import STAGES
from truing.config.variants import with_changes
from truing.data.prepared import Prepared
from truing.models.device import device_of
from truing.models.load import outline_base
from truing.preflight.circumstances import circumstances
from truing.preflight.sizes import sizes_of
from truing.runs.lineage import StageRecord


def chosen_for(stage: Planned, rows: Prepared, record: StageRecord | None) -> tuple[dict[str, Any], list[str]]:
    """What is chosen for a stage, by dotted keys, and sentences about it.

    A stage that was begun keeps its choices, but for threads, which a recipe may name at any time.
    """
    recipe, base = stage.recipe, stage.recipe.base
    assert base is not None
    fields, named = left_out(recipe, stage.spec), recipe.compute.threads is not None
    parameters = outline_base(base, recipe.compute).model.num_parameters() if fields or not named else 0
    found = circumstances(recipe, stage.spec, rows, parameters)
    chosen = choices(recipe, stage.spec, found)
    sizes = _sizes(with_changes(recipe, chosen), [stage.spec.name])
    if record is not None and record.state == "running" and record.chosen is not None:
        chosen = {key: value for key, value in record.chosen.items() if not (named and key == THREADS)}
        sizes = {key: chosen.pop(key, value) for key, value in sizes.items()}
    told = "optimiser.learning_rate" in fields or THREADS in chosen
    said = [in_words(chosen, recipe, stage.spec, found)] if told else []
    on_device = sizes_in_words(sizes, str(device_of(recipe.compute))) if sizes else None
    said += [on_device] if on_device else []
    return chosen | sizes, said + few_steps(recipe, stage.spec, found)


def _sizes(recipe: Recipe, stages: Sequence[str]) -> dict[str, Any]:
    """What the recipe leaves to the device, by dotted keys; all else is chosen."""
    assert recipe.base is not None
    base, fields = recipe.base, sizes_left_out(recipe)
    if not fields:
        return {}
    found = sizes_of(recipe, stages, lambda: outline_base(base, recipe.compute).model)
    return {key: found[key] for key in fields}


def with_all_choices(recipe: Recipe, rows: Prepared, parameters: int) -> Recipe:
    """The recipe with everything chosen that its stages leave out; how much at once is what suits all of them."""
    for spec in (STAGES[name] for name in recipe.stages):
        recipe = with_choices(recipe, spec, circumstances(recipe, spec, rows, parameters))
    return with_changes(recipe, _sizes(recipe, recipe.stages))
