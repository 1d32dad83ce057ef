"""How a recipe is to be launched: what is refused of it, and what is to be said, before any process is started."""

from truing.config.defaults import PROCESSES_PAY_FROM, size_in_words
from truing.config.sections import Compute
from truing.core.errors import RecipeError
from truing.preflight.layouts import Layout

SLOW = (
    "--tp on a CPU waits for the other processes in every layer, for each token that is drawn too. It was measured "
    "from slower than one process to 1.3 times as fast: take it where layers do not fit"
)


def layout_of(compute: Compute, processes: int, tensor: int, pipeline: int) -> Layout:
    """The layout that the options of a launch and a recipe make. RecipeError where there is none such."""
    refuse_odd_layout(processes, tensor, pipeline)
    apart = tensor * pipeline
    return Layout(processes // apart, tensor, compute.shard and processes > 1 and apart == 1, pipeline)


def refuse_odd_layout(processes: int, tensor: int, pipeline: int) -> None:
    """RecipeError where so many processes are no groups that share layers, or that have them one after another."""
    if tensor > 1 and pipeline > 1:
        what = "layers that --tp cuts cannot be cut into stages too."
        raise RecipeError(what, code="recipe/cut-twice", where="--pp", hint="Leave one of the two out.")
    if processes % pipeline:
        what = f"{pipeline} stages need {pipeline} processes or a multiple of it, not {processes}."
        hint = f"Give --processes {pipeline}, or a multiple of it."
        raise RecipeError(what, code="recipe/odd-stages", where="--pp", hint=hint)
    if processes % tensor:
        what = f"{tensor} slices of each layer need {tensor} processes or a multiple of it, not {processes}."
        hint = f"Give --processes {tensor}, or a multiple of it."
        raise RecipeError(what, code="recipe/odd-layout", where="--tp", hint=hint)


def remarks_of_launch(
    compute: Compute, layout: Layout, parameters: int | None = None, on_cpu: bool = False
) -> list[str]:
    """Sentences about a launch: a setting that changes nothing in it, a base too small to be shared, a slow layout.

    Args:
        compute: of the recipe.
        layout: of the processes that are to share the work.
        parameters: of the base; None where it is not known.
        on_cpu: whether that computes.
    """
    if layout.processes == 1:
        idle = "compute.shard: true changes nothing in one process, which holds all weights: --processes N spreads them"
        return [idle] if compute.shard else []
    found = [SLOW] if on_cpu and layout.tensor > 1 else []
    if parameters is not None and not processes_pay(parameters):
        size, least = size_in_words(parameters), size_in_words(PROCESSES_PAY_FROM)
        found.append(
            f"{layout.processes} processes share the work of a base of {size} parameters: below about {least}, one "
            "alone is as a rule sooner done"
        )
    return found


def processes_pay(parameters: int) -> bool:
    """Whether a base is so large that several processes are sooner done than one."""
    return parameters >= PROCESSES_PAY_FROM
