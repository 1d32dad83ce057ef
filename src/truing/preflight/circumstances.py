"""What a stage would learn with, as far as its choices depend on it."""

from truing.config.defaults import Circumstances
from truing.config.recipe import Recipe
from truing.config.stages import StageSpec
from truing.data.prepared import Prepared


def circumstances(recipe: Recipe, spec: StageSpec, rows: Prepared, parameters: int) -> Circumstances:
    """On a base of so many parameters, from these rows; those that are too long are counted too."""
    learnt_from = [len(rows.split(name, recipe)[0]) for name in spec.datasets_of(recipe)]
    return Circumstances(parameters, sum(learnt_from) if learnt_from else None)
