"""truing doctor."""

from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from truing.cli.output import PlainConsole, tell
from truing.cli.recipe_file import named_recipe
from truing.cli.shelf import recipe_path
from truing.core.errors import check
from truing.preflight.launching import layout_of, processes_pay, remarks_of_launch
from truing.preflight.looks import people_remarks
from truing.preflight.model_directories import check_layout, model_problems

if TYPE_CHECKING:
    from truing.config.sections import RolloutConfig
    from truing.estimate.estimator import Forecast
    from truing.estimate.launches import Launch

FOREVER = 365 * 24 * 3600.0
"""Seconds of what nobody waits for"""


def doctor_command(
    recipe_file: Path | None, overrides: list[str], processes: int = 1, tensor: int = 1, pipeline: int = 1
) -> None:
    """Says what the machine has; with a recipe, what its stages will hold and take."""
    console = PlainConsole()
    if recipe_file is None:
        from truing.estimate.machine import facts  # imports torch

        table = Table(box=None, show_header=False, pad_edge=False)
        for name, value in facts().items():
            table.add_row(name, value)
        console.print(table)
        return
    recipe = named_recipe(recipe_path(recipe_file), overrides)
    layout = layout_of(recipe.compute, processes, tensor, pipeline)
    check(model_problems(recipe))
    check_layout(recipe.base, tensor, pipeline)
    from truing.estimate.estimator import estimate  # imports torch, so only once the recipe is sound
    from truing.preflight.spreading import check_spreading

    check_spreading(recipe.base, recipe.compute, layout)
    doing = "running a few steps of each stage on copies of the base that have few layers"
    if not console.is_terminal:  # where no spinner shows that it is at work
        tell(f"{doing}, which takes up to some minutes")
    with console.status(doing):
        found = estimate(recipe, layout)
    _print(found, console)
    for remark in remarks_of_launch(recipe.compute, layout, found.parameters, found.shared_memory):
        console.print(f"\n{remark}.", soft_wrap=True)
    for remark in people_remarks(recipe):
        console.print(f"\n{remark}. That time is not counted.", soft_wrap=True)
    if recipe.rollout.engine != "local":
        console.print(_of_a_server(recipe.rollout), soft_wrap=True)


def _print(found: "Forecast", console: Console) -> None:
    from truing.estimate.machine import in_words

    heads = ("stage", "peak memory", "between steps", "time of a step", "steps", "all, h:mm:ss")
    table = Table(*heads, box=None, pad_edge=False)
    for stage, usage in found.stages.items():
        row = (in_words(usage.peak), in_words(usage.held), _seconds(usage.seconds), f"{usage.steps:,}")
        table.add_row(stage, *row, _clock(usage.total))
    console.print(table)
    console.print(
        "Between steps: Python and its libraries, weights, Adam's moments. The rest of a peak lasts for a part of a "
        "step: gradients, activations, caches. Where a stage samples, a step is an update, its responses as long as "
        "they may be.",
        soft_wrap=True,
    )
    console.print(
        f"All steps of all stages: {_clock(found.seconds)}; evaluations, checkpoints and loading come on top. "
        "All figures are those of one process that does the work alone.",
        soft_wrap=True,
    )
    if found.launch is not None:
        _print_launches(found, found.launch, console)
        return
    console.print(f"Peak {in_words(found.peak)}; there is {in_words(found.memory)}. {_verdict(found)}", soft_wrap=True)


def _of_a_server(settings: "RolloutConfig") -> str:
    """What these figures say of a run whose responses are drawn elsewhere."""
    told = (
        "\nResponses are counted as drawn here. The server has a memory of its own, and this process reads what it drew"
    )
    if settings.max_staleness == 0:
        return f"{told} once more."
    return (
        f"{told} twice more. With rollout.max_staleness it draws while this process learns, so an update takes about "
        f"as long as the longer of the two; up to {settings.max_staleness + 2} adapters of earlier updates come on top "
        f"of the memory, and {settings.max_staleness} on top of a checkpoint."
    )


def _print_launches(found: "Forecast", launch: "Launch", console: Console) -> None:
    """What each process of the launch takes, and what those of others would."""
    from truing.estimate.launches import ASSUMED
    from truing.estimate.machine import in_words

    console.print(f"\nEach process of {launch.layout.options}, by count:", soft_wrap=True)
    parts = ("weights", "moments", "gradients", "adapters", "activations")
    table = Table("stage", "peak", *parts, "gathered", box=None, pad_edge=False)
    for stage, held in launch.held.items():
        gathered = max(held.gathered, held.gathered_policy)
        counts = [in_words(size) for size in (*(getattr(held, part) for part in parts), gathered)]
        table.add_row(stage, in_words(launch.peaks[stage]), *counts)
    console.print(table)
    console.print("The peak is that of one process, with what the launch changes of these counts.\n", soft_wrap=True)
    table = Table("launch", "peak of each", "fits", "all steps, h:mm:ss", box=None, pad_edge=False)
    for one in found.launches:
        fits = "yes" if found.holds(one) else "no"
        table.add_row(one.layout.options or "one process", in_words(one.peak), fits, _clock(one.seconds))
    console.print(table)
    assert found.share is not None
    links = found.share.links
    how = "which is assumed" if links in ASSUMED.values() else "as was measured here"
    console.print(
        "The time is that of one process on the threads of each, shared out, times "
        f"{found.share.slowdown:.2f} since the others compute too, and what is exchanged at "
        f"{links.link / 1e9:.2g} GB/s and {1e3 * links.message:.2g} ms a message, {how}; processes that wait for each "
        "other take longer.",
        soft_wrap=True,
    )
    if found.slower:
        slower = ", ".join(launch.layout.options for launch in found.slower)
        console.print(f"Slower than one process, and so of use for their memory alone: {slower}.", soft_wrap=True)
    console.print(f"There is {in_words(found.memory)}{_whose(found)}. {_advice(found)}", soft_wrap=True)


def _whose(found: "Forecast") -> str:
    return " for all of them" if found.shared_memory else " for each, if it has a device of its own"


def _advice(found: "Forecast") -> str:
    if found.best is None:
        return "None fits. Take more processes or a smaller base; without --processes, changes of the recipe are tried."
    options = found.best.layout.options
    if options:
        return f"Take {options}."
    why = "no other that fits is sooner done" if processes_pay(found.parameters) else "the base is too small to share"
    return f"Take one process: {why}."


def _verdict(found: "Forecast") -> str:
    from truing.estimate.machine import in_words

    if found.fits:
        return "It fits."
    if not found.changes:
        return "It does not fit, and no change of the recipe would help: take a smaller base."
    settings = " ".join(f"--set {key}={value}" for key, value in found.changes.items())
    end = "." if found.would_fit else ", which does not fit either: take a smaller base."
    return f"It does not fit. With {settings} the peak is {in_words(found.peak_changed)}{end}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=ceil(seconds))) if seconds < FOREVER else "more than a year"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
