"""truing compare."""

from pathlib import Path

from rich.columns import Columns
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from truing.cli.closing import COLOURS
from truing.cli.output import PlainConsole
from truing.compare import SideBySide, compare
from truing.report.comparison import Cell
from truing.report.content import plain
from truing.runs.differences import in_short
from truing.runs.files import refuse_unwritable, write_json


def compare_command(roots: list[Path], prompts: int, out: Path | None) -> None:
    """Prints what differs, figures and the first answers side by side; all of it as JSON where that is asked for."""
    if out is not None:
        refuse_unwritable(out)
    found = compare(roots)
    if out is not None:
        write_json(out, plain(found))
    console = PlainConsole()
    for other in found.differing:
        told = in_short(other.differences) or "nothing"
        console.print(f"{other.run} differs from {roots[0]} in: {told}", soft_wrap=True)
    for warning in found.warnings:
        console.print(warning, style="yellow", soft_wrap=True)
    _print_stages(found, console)
    for policy in found.policies:
        console.print(f"{policy.label}: {policy.verdict}", style=COLOURS[policy.tone], soft_wrap=True)
    _print_samples(found, prompts, console)


def _print_stages(found: SideBySide, console: Console) -> None:
    """What came of each stage, and the figures of the policies."""
    outcomes = Table("run", "stage", "result", box=None, pad_edge=False)
    for stage in found.stages:
        outcomes.add_row(stage.run, stage.stage, stage.outcome or stage.state)
    console.print(outcomes)
    if found.policies:
        figures = Table("", *(policy.label for policy in found.policies), box=None, pad_edge=False)
        for line in found.figures:
            figures.add_row(line.title, *map(_cell, line.cells))
        console.print(figures)


def _cell(cell: Cell) -> Group:
    return Group(Text(cell.value), *(Text(detail, style="dim") for detail in cell.details))


def _print_samples(found: SideBySide, prompts: int, console: Console) -> None:
    """The first prompts, each with every answer to it."""
    for exchange in found.samples.exchanges[:prompts]:
        console.print(Text(exchange.prompt, style="bold"))
        panels = [
            Panel(Text(f"{each.text}\n\n{', '.join(each.facts)}"), title=Text(each.label))
            for each in exchange.responses
        ]
        console.print(Columns(panels, equal=True, expand=True))
    if found.samples.prompts > prompts > 0:
        console.print(f"{found.samples.prompts} prompts in all; --prompts N shows more.", style="dim")
