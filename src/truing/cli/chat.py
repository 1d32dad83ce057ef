"""truing chat."""

from pathlib import Path

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from truing.config.stages import STAGES
from truing.core.errors import RunError
from truing.runs.directory import RunDirectory

SPEAKING = sorted(
    (spec for spec in STAGES.values() if spec.makes != "reward model"), key=lambda spec: not spec.makes_policy
)
"""The kinds of stages whose result is talked to where none is named: the first that is finished, policies before"""


def chat_command(root: Path, stage: str | None, tokens: int, temperature: float) -> None:
    """Answers each line with the start and with the result of a stage."""
    from truing.chat import open_models  # imports torch

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
    console = Console()
    models = open_models(run, stage, tokens, temperature)
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
