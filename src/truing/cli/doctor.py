"""truing doctor."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from truing.cli.output import tell
from truing.cli.shelf import recipe_path
from truing.config import load_recipe
from truing.preflight.findings import Findings
from truing.preflight.model_directories import model_problems

if TYPE_CHECKING:
    from truing.doctor.diagnosis import Diagnosis
    from truing.doctor.phase import Phase


def doctor_command(recipe_file: Path | None, overrides: list[str]) -> None:
    """Says what the machine has; with a recipe, what its phases will hold and take."""
    console = Console(highlight=False)
    if recipe_file is None:
        from truing.doctor.machine import facts  # imports torch

        table = Table(box=None, show_header=False, pad_edge=False)
        for name, value in facts().items():
            table.add_row(name, value)
        console.print(table)
        return
    recipe = load_recipe(recipe_path(recipe_file), overrides, tell)
    Findings(faults=[*model_problems(recipe)]).check()
    from truing.doctor.diagnosis import diagnose  # imports torch, so only once the recipe is sound

    _tell(diagnose(recipe), console)


def _tell(found: "Diagnosis", console: Console) -> None:
    from truing.doctor.machine import in_words

    table = Table("stage", "phase", "peak", "time", "of which", box=None, pad_edge=False)
    seconds = found.seconds or [None] * len(found.phases)
    for phase, time in zip(found.phases, seconds, strict=True):
        table.add_row(phase.stage, phase.name, in_words(found.bytes(phase)), _seconds(time), _parts(phase))
    console.print(table)
    times = "Times are of one step, of ppo one update, with responses as long as those that are learnt from."
    if found.seconds is None:
        times = "Times are predicted for what fits, on a CPU, without quantised weights."
    console.print(f"Each peak holds {in_words(found.process)} of Python and libraries. {times}", soft_wrap=True)
    console.print(f"Peak {in_words(found.peak)}; there is {in_words(found.memory)}. {_verdict(found)}", soft_wrap=True)


def _verdict(found: "Diagnosis") -> str:
    from truing.doctor.machine import in_words

    if found.fits:
        return "It fits."
    if not found.changes:
        return "It does not fit, and no change of the recipe would help: take a smaller base."
    settings = " ".join(f"--set {key}={value}" for key, value in found.changes.items())
    end = "." if found.would_fit else ", which does not fit either: take a smaller base."
    return f"It does not fit. With {settings} the peak is {in_words(found.peak_changed)}{end}"


def _parts(phase: "Phase") -> str:
    """The largest first; what is less than a hundredth is left out."""
    from truing.doctor.machine import in_words

    ordered = sorted(phase.parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {in_words(size)}" for name, size in ordered if size > 0.01 * phase.bytes)


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
