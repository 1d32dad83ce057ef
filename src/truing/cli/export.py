"""truing export."""

from pathlib import Path
from typing import TYPE_CHECKING

from truing.cli.output import say, tell
from truing.core.errors import RecipeError
from truing.runs.directory import RunDirectory
from truing.runs.finished import has_reward_model, speaking_stage

if TYPE_CHECKING:
    from truing.export.gguf import GgufType
    from truing.export.result import Exported


def export_command(
    root: Path,
    to: Path,
    stage: str | None,
    adapter: bool,
    gguf: "GgufType | None",
    converter: Path | None,
    repository: str | None,
    trust: bool,
) -> None:
    """Writes the directory, pushes it where that is asked for, and prints where it is and what is in it."""
    run = RunDirectory(root)
    stage = stage if stage and has_reward_model(run, stage) else speaking_stage(run, stage)
    if gguf and (adapter or has_reward_model(run, stage)):
        what = "a GGUF file is of a whole language model, and an adapter or a reward model is none."
        raise RecipeError(what, code="recipe/no-gguf", where="--gguf", hint="Leave it out.")
    if adapter:
        from truing.export.result import export_adapter  # imports torch

        exported = export_adapter(run, stage, to, is_pushed=repository is not None)
    else:
        exported = _export(run, stage, to, gguf, converter, trust)
    for note in exported.notes:
        tell(note)
    for name in exported.files:
        say(str(to / name))
    if repository is not None:
        from truing.export.push import push

        say(push(to, repository))


def _export(
    run: RunDirectory, stage: str, to: Path, gguf: "GgufType | None", converter: Path | None, trust: bool
) -> "Exported":
    """The whole of it."""
    from truing.export.gguf import find_converter  # imports torch
    from truing.export.result import Gguf, export_model, export_reward_model
    from truing.results import naming_consent

    wanted = Gguf(gguf, find_converter(converter)) if gguf else None
    with naming_consent(run, stage, trust):
        if has_reward_model(run, stage):
            return export_reward_model(run, stage, to, trust)
        return export_model(run, stage, to, wanted, trust)
