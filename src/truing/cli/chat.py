"""truing chat."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from truing.cli.output import PlainConsole
from truing.config.stages import STAGES
from truing.core.errors import ModelError, RunError
from truing.runs.directory import RunDirectory

if TYPE_CHECKING:
    from truing.chat import ChatModel

SPEAKING = sorted(
    (spec for spec in STAGES.values() if spec.makes != "reward model"), key=lambda spec: not spec.makes_policy
)
"""The kinds of stages whose result is talked to where none is named: the first that is finished, policies before"""


def chat_command(root: Path, stage: str | None, tokens: int, temperature: float, trust: bool) -> None:
    """Answers each line with the start and with the result of a stage."""
    run = RunDirectory(root)
    kinds = [spec.name for spec in SPEAKING]
    finished = [record.name for record in run.lineage.stages if record.state == "done" and record.kind in kinds]
    stage = stage or next((name for name in kinds if name in finished), kinds[0])
    if stage not in finished:
        raise RunError(
            f"the stage {stage} has no finished policy to talk to.",
            code="run/no-such-policy",
            where=str(root),
            hint=f"Finished: {', '.join(finished) or 'none'}. Choose with --stage.",
        )
    models = _open(run, stage, tokens, temperature, trust)
    console = PlainConsole()
    start, result = models
    console.print(f"{start.name}: the model that {result.name} began with, {start.place}", style="dim", soft_wrap=True)
    console.print(f"{result.name}: what it made of that, {result.place}", style="dim", soft_wrap=True)
    console.print("A line is a prompt; an empty line ends.", style="dim")
    while prompt := _ask(console):
        panels = [Panel(Text(model.answer(prompt)), title=Text(model.name)) for model in models]
        console.print(Columns(panels, equal=True, expand=True))


def _open(run: RunDirectory, stage: str, tokens: int, temperature: float, trust: bool) -> "list[ChatModel]":
    from truing.chat import open_models  # imports torch

    try:
        return open_models(run, stage, tokens, temperature, trust)
    except ModelError as error:
        if error.code != "model/remote-code":
            raise
        where, model = str(error.where), run.stage(stage).model
        hint = f"Read that code. If you trust it as it is in {model}, add --trust-remote-code."
        what = "this model wants to run Python code that it brings along, and the run's own recipe cannot allow that."
        if trust:
            what, hint = "this model has other code than the result, whose code alone you trusted.", "Compare the two."
        raise ModelError(what, code="model/remote-code-of-run", where=where, hint=hint) from error


def _ask(console: Console) -> str:
    try:
        return console.input("> ")
    except (EOFError, KeyboardInterrupt):
        return ""
    except UnicodeDecodeError as error:
        raise RunError("the line is not UTF-8.", code="run/not-utf-8", hint="Type it, or pipe a UTF-8 file.") from error
