"""The processes of a run: whether a base can be spread over them, and what is to be said of them."""

from truing.config.recipe import Recipe
from truing.config.sections import Compute
from truing.models.load import outline_base
from truing.preflight.launching import layout_of, remarks_of_launch
from truing.preflight.layouts import Layout
from truing.preflight.spreading import check_spreading, computes_on_cpu
from truing.processes import group


def refuse_spreading(recipe: Recipe) -> None:
    """Refuses a base of whose weights this run's processes cannot have parts; told before anything is read for it."""
    layout = _layout(recipe.compute)  # here, since an owner that works alone is one process
    group.on_owner(lambda: check_spreading(recipe.base, recipe.compute, layout))


def launch_remarks(recipe: Recipe) -> list[str]:
    """What is to be said of the processes of this run, in words."""
    assert recipe.base is not None
    layout = _layout(recipe.compute)
    several = layout.processes > 1
    parameters = outline_base(recipe.base, recipe.compute).model.num_parameters() if several else None
    return remarks_of_launch(recipe.compute, layout, parameters, computes_on_cpu(recipe.compute))


def _layout(compute: Compute) -> Layout:
    return layout_of(compute, group.size(), group.tensor_size(), group.pipeline_size())
