"""truing chat."""

from pathlib import Path

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from truing.errors import RunError
from truing.runs.directory import RunDirectory

POLICIES = ("ppo", "dpo", "sft")
"""The stages whose result is talked to where none is named: the first that is finished"""


def chat_command(root: Path, stage: str | None, tokens: int, temperature: float) -> None:
    """Answers each line with the start and with the result of a stage."""
    from truing.conversation import Speaker, open_speakers  # imports torch

    run = RunDirectory(root)
    finished = [record.name for record in run.lineage.stages if record.state == "done" and record.kind in POLICIES]
    stage = stage or next((name for name in POLICIES if name in finished), "ppo")
    if stage not in finished:
        raise RunError(
            f"the stage {stage} has no finished policy to talk to.",
            where=str(root),
            mend=f"Finished: {', '.join(finished) or 'none'}. Choose with --stage.",
        )
    console = Console()
    speakers: list[Speaker] = open_speakers(run, stage, tokens, temperature)
    console.print("A line is a prompt; an empty line ends.", style="dim")
    while prompt := _ask(console):
        panels = [Panel(Text(speaker.answer(prompt)), title=Text(speaker.name)) for speaker in speakers]
        console.print(Columns(panels, equal=True, expand=True))


def _ask(console: Console) -> str:
    try:
        return console.input("> ")
    except (EOFError, KeyboardInterrupt):
        return ""
    except UnicodeDecodeError as error:
        raise RunError("the line is not UTF-8.", mend="Type it, or pipe a UTF-8 file.") from error
