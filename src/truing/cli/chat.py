"""truing chat."""

from pathlib import Path

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from truing.cli.output import PlainConsole
from truing.core.errors import RunError
from truing.runs.directory import RunDirectory
from truing.runs.finished import speaking_stage


def chat_command(root: Path, stage: str | None, tokens: int, temperature: float, trust: bool) -> None:
    """Answers each line with the start and with the result of a stage."""
    run = RunDirectory(root)
    stage = speaking_stage(run, stage)
    from truing.chat import open_models  # imports torch
    from truing.results import naming_consent

    with naming_consent(run, stage, trust):
        models = open_models(run, stage, tokens, temperature, trust)
    console = PlainConsole()
    start, result = models
    console.print(f"{start.name}: the model that {result.name} began with, {start.place}", style="dim", soft_wrap=True)
    console.print(f"{result.name}: what it made of that, {result.place}", style="dim", soft_wrap=True)
    console.print("A line is a prompt; an empty line ends.", style="dim")
    while prompt := _ask(console):
        panels = [Panel(Text(model.answer(prompt)), title=Text(model.name)) for model in models]
        console.print(Columns(panels, equal=True, expand=True))


def _ask(console: Console) -> str:
    try:
        return console.input("> ")
    except (EOFError, KeyboardInterrupt):
        return ""
    except UnicodeDecodeError as error:
        raise RunError("the line is not UTF-8.", code="run/not-utf-8", hint="Type it, or pipe a UTF-8 file.") from error
