"""The base of a recipe without its weights, and what can be told of it alone. Imports torch."""

import os

from truing.config.recipe import Recipe
from truing.config.stages import STAGES
from truing.core.errors import ModelError
from truing.models.load import LoadedBase, outline_base
from truing.models.save import outline_classifier
from truing.preflight.findings import NOT_MEASURED, Findings


def outlined(recipe: Recipe, found: Findings, faulty: bool) -> LoadedBase | None:
    """The base, from which a reward stage can save a classifier; None where it cannot be had, with what was found.

    faulty: a problem of it is known already.
    """
    assert recipe.base is not None
    try:
        base = outline_base(recipe.base, recipe.compute, fetch=False)
    except ModelError as error:
        if faulty or not os.path.isdir(recipe.base.path):  # what is missing of a Hub id, a run fetches
            found.unchecked.append(f"{NOT_MEASURED}, for want of the base: {error}")
        else:
            found.problems.append(error.problem)
        return None
    if any(STAGES[name].makes == "reward model" for name in recipe.stages):
        with found.noting():
            outline_classifier(base.model)
    return base
