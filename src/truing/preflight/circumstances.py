"""What a stage would learn with, as far as its choices depend on it."""

from truing.config.defaults import Circumstances
from truing.config.recipe import Recipe
from truing.config.stages import StageSpec
from truing.data.prepared import Prepared


def circumstances(recipe: Recipe, spec: StageSpec, rows: Prepared, parameters: int) -> Circumstances:
    """On a base of so many parameters, from these rows, of which those that are left out teach nothing.

    Raises:
        DataError: there are none, or too few; none is left, or one may not be left out.
    """
    learnt_from = [len(rows.fit(name, rows.split(name, recipe)[0], recipe)[0]) for name in spec.datasets_of(recipe)]
    return Circumstances(parameters, sum(learnt_from) if learnt_from else None)
