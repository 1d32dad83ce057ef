"""truing score."""

import json
from pathlib import Path

from truing.cli.output import say
from truing.runs.directory import RunDirectory


def score_command(run: Path, rows: Path, stage: str | None) -> None:
    """Prints a line of JSON for each row: where it stands, and its score."""
    from truing.score import score_file  # imports torch

    for where, score in score_file(RunDirectory(run), rows, stage):
        say(json.dumps({"row": where, "score": round(score, 6)}, ensure_ascii=False))
