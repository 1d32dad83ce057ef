"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

PAGE = "The page"

Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a field, such as ppo.kl.beta=0.1.")
]
SpeakingStage = Annotated[
    str | None, typer.Option("--stage", help="Which result, such as ppo-no-kl; without it, a policy, else sft.")
]
AnswerTokens = Annotated[int | None, typer.Option("--tokens", min=1, help="Longest response; without it, the run's.")]
AnswerTemperature = Annotated[
    float | None, typer.Option("--temperature", min=0.01, help="Of the draws; without it, the run's.")
]
AnswerSeed = Annotated[int | None, typer.Option("--seed", min=0, help="Of the draws; without it, the run's.")]
Labellers = Annotated[
    list[str] | None,
    typer.Option("--person", metavar="NAME", help="Who labels: prints a link. One or several.", rich_help_panel=PAGE),
]
Leads = Annotated[
    list[str] | None,
    typer.Option("--lead", metavar="NAME", help="The same, of who also settles disputes.", rich_help_panel=PAGE),
]
Port = Annotated[
    int,
    typer.Option("--port", min=0, max=65535, help="Where it listens; 0 takes any that is free.", rich_help_panel=PAGE),
]
Guidelines = Annotated[
    Path | None, typer.Option("--guidelines", help="Markdown, shown beside the work.", rich_help_panel=PAGE)
]
Url = Annotated[
    str | None,
    typer.Option("--url", help="What browsers open, where that is a proxy with TLS.", rich_help_panel=PAGE),
]

Tensor = Annotated[int, typer.Option(min=1, help="Of these, how many share each layer of a model (tensor parallel).")]
Pipeline = Annotated[
    int, typer.Option(min=1, help="Of these, how many have a model's layers one after another (pipeline parallel).")
]
