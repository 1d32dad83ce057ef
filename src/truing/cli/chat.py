"""truing chat."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from truing.cli.output import PlainConsole
from truing.core.errors import DataError, InputError, RunError
from truing.runs.directory import RunDirectory
from truing.runs.finished import speaking_stage

if TYPE_CHECKING:
    from truing.chat import ChatModel


def chat_command(root: Path, stage: str | None, tokens: int, temperature: float, trust: bool) -> None:
    """Answers each line with the start and with the result of a stage."""
    if sys.stdin is None or sys.stdout is None:  # closed by whoever began this process
        what, hint = "reads lines and answers them, and there is nothing to read from or to write to.", "Pipe lines in."
        raise InputError(what, code="input/nobody-there", where="truing chat", hint=hint)
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
        try:
            for model in models:
                model.refuse_unanswerable(prompt)
        except DataError as error:
            before = " What was said before counts; a new chat begins without it." if models[0].remembers else ""
            console.print(f"{error.what} Nothing was asked.{before}", soft_wrap=True)
            continue
        console.print(Columns([_panel(model, prompt) for model in models], equal=True, expand=True))


def _panel(model: "ChatModel", prompt: str) -> Panel:
    answer = model.answer(prompt)
    shown = Text(answer.response)
    if not answer.finished:
        shown.append(f" (cut off at {len(answer.response_tokens):,} tokens)", style="dim")
    return Panel(shown, title=Text(model.name))


def _ask(console: Console) -> str:
    try:
        return console.input("> ")
    except (EOFError, KeyboardInterrupt):
        return ""
    except UnicodeDecodeError as error:
        raise RunError("the line is not UTF-8.", code="run/not-utf-8", hint="Type it, or pipe a UTF-8 file.") from error
