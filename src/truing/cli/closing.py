"""What a run says when it is done: a table in words, and the verdict that its report begins with."""

from rich.console import Console
from rich.table import Table

from truing.report.comparison import label
from truing.report.run_files import read_run
from truing.report.stages import policies
from truing.report.verdict import verdicts
from truing.report.wording import duration
from truing.runs.directory import RunDirectory

COLOURS = {"good": "green", "bad": "red", "open": ""}
"""Of a verdict, by its tone"""


def closing_table(run: RunDirectory, console: Console) -> None:
    """One row a stage, its warnings below, the verdict on each policy, and where the report is."""
    table = Table("stage", "time", "result", box=None, pad_edge=False)
    files = read_run(run.root)
    stages = files.stages
    for stage in stages:
        table.add_row(label(stage), duration(stage.record.seconds), stage.outcome)
    console.print(table)
    for stage in stages:
        for remark in stage.record.remarks or []:
            console.print(f"{stage.name}: {remark}", markup=False, highlight=False, soft_wrap=True)
    for stage in stages:
        for warning in [*(stage.result.findings or []), *(stage.result.warnings or [])]:
            console.print(f"{stage.name}: {warning}", style="yellow", markup=False, highlight=False)
    labels = [f"{label(stage)}: " for stage in policies(files)] or [""]
    for name, verdict in zip(labels, verdicts(files), strict=True):
        tone = COLOURS[verdict.tone]
        console.print(f"{name}{verdict.headline}", style=tone, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {run.report}", markup=False, highlight=False, soft_wrap=True)
