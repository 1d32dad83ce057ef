"""The options of `truing label`: what is judged, on which page, and what is done with labels without one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from truing.cli.options import PAGE

NO_PAGE = "Instead of a page"

RunOrFile = Annotated[
    Path, typer.Argument(metavar="RUN_OR_FILE", help="A run directory, or rows of prompts, with answers or --ask.")
]
JudgedHow = Annotated[
    Literal["pairs", "rate", "yes-no"] | None,
    typer.Option("--mode", help="Which of two is better, or each alone; without it, as begun, else pairs."),
]
WhoseAnswers = Annotated[
    str | None, typer.Option("--stage", help="Of a run: whose answers; without it, a policy's, else sft.")
]
AgainstWhat = Annotated[
    Literal["start", "best"],
    typer.Option("--against", help="Of a run: what its answers stand against; best: of the evaluations before."),
]
Ask = Annotated[
    list[str] | None,
    typer.Option(
        "--ask", metavar="MODEL_OR_RUN", help="Who answers a file of prompts: a directory or Hub id. Once or twice."
    ),
]
AskedBestOf = Annotated[
    int | None,
    typer.Option("--best-of", min=2, help="Of one run that is asked: its best of so many, against a single draw."),
]
Each = Annotated[
    int | None, typer.Option("--each", min=1, help="People who judge each item; without it, as begun, else 1.")
]
RandomShare = Annotated[
    float,
    typer.Option("--random-share", min=0, max=1, help="Of the items: drawn at random, not because they teach most."),
]
Controls = Annotated[
    Path | None, typer.Option("--controls", help="Pairs whose better side is known, between the others.")
]
Swaps = Annotated[
    float,
    typer.Option("--swaps", min=0, max=1, help="Of the items: shown to the same person again, sides changed."),
]
LabelsFile = Annotated[
    Path | None,
    typer.Option("--labels", help="The file that keeps it all; without it, beside RUN_OR_FILE, *.labels.db."),
]

Host = Annotated[
    str,
    typer.Option("--host", help="Where to listen; addresses open to others need --url.", rich_help_panel=PAGE),
]

Export = Annotated[
    Path | None,
    typer.Option(
        "--export", metavar="FILE", help="Write rows to learn from, in TRL's columns, and end.", rich_help_panel=NO_PAGE
    ),
]
ExportVotes = Annotated[
    Path | None,
    typer.Option(
        "--export-votes",
        metavar="FILE",
        help="Write every vote with all that is known of it, and end.",
        rich_help_panel=NO_PAGE,
    ),
]
Convert = Annotated[
    Path | None,
    typer.Option(
        "--convert",
        metavar="FILE",
        help="Write RUN_OR_FILE, an export of Label Studio or Argilla, as rows, and end.",
        rich_help_panel=NO_PAGE,
    ),
]
Quality = Annotated[
    bool,
    typer.Option(
        "--quality",
        help="Show how good the labellers are, who stands out and why, and end.",
        rich_help_panel=NO_PAGE,
    ),
]
Revoke = Annotated[
    str | None,
    typer.Option("--revoke", metavar="NAME", help="End a person's links, and end.", rich_help_panel=NO_PAGE),
]
Forget = Annotated[
    str | None,
    typer.Option(
        "--forget", metavar="NAME", help="Delete a person and all they said, and end.", rich_help_panel=NO_PAGE
    ),
]
