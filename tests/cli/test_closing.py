"""What a run says when it is done."""

import re
from pathlib import Path

from report.example_run import write_run
from rich.console import Console

from truing.cli.closing import closing_table
from truing.report import write_report
from truing.runs.directory import RunDirectory


def test_the_table_says_what_the_report_says_and_warns(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", ("sft", "reward", "ppo-no-kl"))
    console = Console(record=True, width=200)
    closing_table(RunDirectory(root), console)
    lines = [re.split(r" {2,}", line.strip()) for line in console.export_text().splitlines()]
    assert lines[1:3] == [
        ["sft", "12 s", "Held-out loss 5.21 → 1.55 nats a token."],
        ["reward", "12 s", "68.6% of 70 held-out pairs right [57.0%, 78.3%]; 'longer wins' 47.9%."],
    ]
    assert lines[3][0] == "ppo-no-kl, β = 0"
    assert lines[3][2].startswith("Score 0.02 → ")
    verdict = "The reward rose while gold fell: the policy found what the reward overrates."
    assert verdict in write_report(root).read_text(encoding="utf-8")
    assert lines[4:] == [
        ["ppo-no-kl: Responses shrank from 16.0 to 7.9 tokens on average."],
        [f"ppo-no-kl, β = 0: {verdict}"],
        [f"report: {root / 'report.html'}"],
    ]
