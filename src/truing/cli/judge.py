"""truing judge."""

from pathlib import Path

from rich.table import Table

from truing.cli.output import PlainConsole
from truing.core.results import Check, CheckVerdict, to_json
from truing.runs.files import refuse_unwritable, write_json

COLOURS: dict[CheckVerdict, str] = {"pass": "green", "warn": "yellow", "fail": "red", "not measured": "dim"}


def judge_command(reward: str, pairs: Path, stage: str | None, out: Path | None) -> None:
    """Prints the report card, with what to do where it does not pass, and writes it as JSON where that is asked for."""
    if out is not None:
        refuse_unwritable(out)  # an LLM judge may have been paid for by then
    from truing.judge import judge  # imports torch

    judgement = judge(reward, pairs, stage)
    if out is not None:
        write_json(out, to_json(judgement))
    console = PlainConsole()
    for warning in judgement.warnings:
        console.print(warning, style=COLOURS["warn"], soft_wrap=True)
    console.print(_table(judgement.checks))
    for check in judgement.checks:
        if check.verdict in ("warn", "fail"):
            console.print(f"{check.name}: {check.why} {check.advice}", style=COLOURS[check.verdict], soft_wrap=True)
    for note in judgement.notes:
        console.print(note, soft_wrap=True)
    counts = [f"{sum(check.verdict == each for check in judgement.checks)} {each}" for each in COLOURS]
    console.print(f"{reward}: {', '.join(counts)}.", style=COLOURS[judgement.verdict], soft_wrap=True)


def _table(checks: list[Check]) -> Table:
    table = Table("", "question", "what was measured", box=None, pad_edge=False)
    for check in checks:
        table.add_row(check.verdict, check.title, check.finding, style=COLOURS[check.verdict])
    return table
