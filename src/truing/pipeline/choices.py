"""What a recipe leaves out is chosen once, before a stage begins, and told."""

from truing.config.defaults import choices, few_steps, in_words, left_out, with_choices
from truing.config.plan import Planned
from truing.config.recipe import Recipe
from truing.config.stages import STAGES
from truing.data.prepared import Prepared
from truing.models.load import outline_base
from truing.preflight.circumstances import circumstances
from truing.runs.lineage import StageRecord


def chosen_for(stage: Planned, rows: Prepared, record: StageRecord | None) -> tuple[dict[str, float], list[str]]:
    """What is chosen for a stage, by dotted keys, and sentences about it; a stage that was begun keeps its choices."""
    base = stage.recipe.base
    assert base is not None
    chooses = left_out(stage.recipe, stage.spec)
    parameters = outline_base(base, stage.recipe.compute).model.num_parameters() if chooses else 0
    found = circumstances(stage.recipe, stage.spec, rows, parameters)
    chosen = choices(stage.recipe, stage.spec, found)
    if record is not None and record.state == "running" and record.chosen is not None:
        chosen = record.chosen
    said = [in_words(chosen, stage.recipe, stage.spec, found)] if "optimiser.learning_rate" in chooses else []
    return chosen, said + few_steps(stage.recipe, stage.spec, found)


def with_all_choices(recipe: Recipe, rows: Prepared, parameters: int) -> Recipe:
    """The recipe with everything chosen that its stages leave out."""
    for spec in (STAGES[name] for name in recipe.stages):
        recipe = with_choices(recipe, spec, circumstances(recipe, spec, rows, parameters))
    return recipe
