"""Options that several commands have, and those of `truing label` that ask, read or compare."""

from pathlib import Path
from typing import Annotated, Literal

import typer

SpeakingStage = Annotated[
    str | None, typer.Option("--stage", help="Which result, such as ppo-no-kl; without it, a policy, else sft.")
]
AnswerTokens = Annotated[int | None, typer.Option("--tokens", min=1, help="Longest response; without it, the run's.")]
AnswerTemperature = Annotated[
    float | None, typer.Option("--temperature", min=0.01, help="Of the draws; without it, the run's.")
]
AnswerSeed = Annotated[int | None, typer.Option("--seed", min=0, help="Of the draws; without it, the run's.")]

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
LabelsFile = Annotated[
    Path | None,
    typer.Option("--labels", help="The file that keeps it all; without it, beside RUN_OR_FILE, *.labels.db."),
]
AgainstWhat = Annotated[
    Literal["start", "best"],
    typer.Option("--against", help="Of a run: what its answers stand against; best: of the evaluations before."),
]
Convert = Annotated[
    Path | None,
    typer.Option(
        "--convert", metavar="FILE", help="Write RUN_OR_FILE, an export of Label Studio or Argilla, as rows, and end."
    ),
]
Quality = Annotated[
    bool, typer.Option("--quality", help="Show how good the labellers are, who stands out and why, and end.")
]
