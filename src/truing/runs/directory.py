"""The run directory: one recipe, one run, nobody else's files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from truing.config import recorded_recipe, resolved_yaml
from truing.config.loading import RECIPE_FILE
from truing.config.recipe import Recipe
from truing.config.schema import NEWER
from truing.core.errors import InputError, RecipeError, RunError
from truing.processes import group
from truing.runs.differences import OTHERWISE, comparable, differences, in_short
from truing.runs.files import (
    PARTIAL,
    disk_faults,
    refuse_links,
    refuse_no_directory,
    remove,
    sha256_file,
    sweep,
    write_text,
)
from truing.runs.lineage import Lineage
from truing.runs.lock import locked
from truing.runs.no_run import RECORD, no_run

_STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LOCK = ".lock"
LLM_ANSWERS = "llm-answers.jsonl"
LOOK = "guard-look-{}.jsonl"
MEMBERS = "members"


@dataclass(frozen=True)
class StageDirectory:
    """The files of one stage."""

    root: Path

    @property
    def metrics(self) -> Path:
        """One JSON object a step."""
        return self.root / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Prompts and responses seen on the way."""
        return self.root / "samples.jsonl"

    @property
    def result(self) -> Path:
        """The closing figures."""
        return self.root / "result.json"

    @property
    def judgements(self) -> Path:
        """What a judge said of the policy's own answers, one JSON object a question."""
        return self.root / "judgements.jsonl"

    @property
    def llm_answers(self) -> Path:
        """What LLM judges said in the whole run, one JSON object an answer; beside the stages, which share it."""
        return self.root.parent / LLM_ANSWERS

    def questions(self, look: int) -> Path:
        """What people are asked at a look, one JSON object a question, in which they answer."""
        return self.root / LOOK.format(f"{look:03d}")

    @property
    def checkpoints(self) -> Path:
        """Directory of complete checkpoints."""
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        """The Hugging Face directory that AutoModel loads."""
        return self.root / "model"

    @property
    def adapter(self) -> Path:
        """The PEFT adapter directory beside the merged model."""
        return self.root / "adapter"

    def member(self, number: int) -> "StageDirectory":
        """The model or the adapter of one of several reward models, from 1."""
        return StageDirectory(self.root / MEMBERS / str(number))

    @property
    def members(self) -> list["StageDirectory"]:
        """All that are there, the first first."""
        numbers = (int(place.name) for place in (self.root / MEMBERS).glob("[1-9]*") if place.name.isdigit())
        return [self.member(number) for number in sorted(numbers)]

    @property
    def member_scores(self) -> Path:
        """What each of several reward models gives to samples of the SFT model, by which they are put on one scale."""
        return self.root / MEMBERS / "sft_scores.json"

    def reset(self) -> None:
        """Make the directory, empty but for what an interrupted attempt can go on from.

        That is its checkpoints and logs, and what was judged meanwhile, which nobody is asked for twice.
        """
        with disk_faults(self.root, "cannot be made"):
            self.root.mkdir(exist_ok=True)
        resumable = set()
        if self.checkpoints.is_dir():
            logs = (self.metrics, self.samples, self.judgements)
            resumable = {self.checkpoints, *logs, *self.root.glob(LOOK.format("*"))}
        for leftover in set(self.root.iterdir()) - resumable:
            remove(leftover)

    def contents(self) -> dict[str, str]:
        """SHA-256 of each file by its path, but of checkpoints and of hidden files, which come and go."""
        names = sorted(file.relative_to(self.root) for file in self.root.rglob("*") if file.is_file())
        kept = [name for name in names if name.parts[0] != self.checkpoints.name and not _is_hidden(name)]
        return {name.as_posix(): sha256_file(self.root / name) for name in kept}

    def remove_checkpoints(self) -> None:
        """A stage that is done needs no checkpoints any more."""
        if self.checkpoints.is_dir():
            remove(self.checkpoints)


@dataclass(frozen=True)
class RunDirectory:
    """The files of a run. Reading needs no lock; a run that writes comes from `open_run`."""

    root: Path

    @property
    def recipe(self) -> Path:
        """The recipe as resolved, complete."""
        return self.root / RECIPE_FILE

    @property
    def record(self) -> Path:
        """The file behind `lineage`."""
        return self.root / RECORD

    @property
    def report(self) -> Path:
        """One self-contained HTML file."""
        return self.root / "report.html"

    @property
    def report_figures(self) -> Path:
        """What that page shows, as JSON."""
        return self.root / "report.json"

    @property
    def label_quality(self) -> Path:
        """How good the labellers were whose judgements the run learns from, by the name of the data."""
        return self.root / "labels.json"

    @property
    def llm_answers(self) -> Path:
        """What LLM judges said in the run, one JSON object an answer."""
        return self.root / LLM_ANSWERS

    @property
    def lock(self) -> Path:
        """The file that whoever writes here holds."""
        return self.root / _LOCK

    @property
    def prepared(self) -> Path:
        """The rows as token ids."""
        return self.root / "prepared"

    @cached_property
    def lineage(self) -> Lineage:
        """run.json, read once. RunError if this is no run, or if a link in it leads elsewhere."""
        self.refuse_no_run()
        return Lineage.read(self.record)

    def refuse_no_run(self) -> None:
        """RunError if this is no run, or if a link in it leads elsewhere."""
        with disk_faults(self.root, "cannot be read"):
            if not self.record.exists():
                raise no_run(self.root)
        refuse_links(self.root)

    @property
    def recorded(self) -> Recipe:
        """The recipe that it was begun with, its keys where they belong today. RunError if it cannot be read."""
        return _recorded(self.recipe)

    def record_places(self, recipe: Recipe) -> None:
        """Keep where files lie now, since a run and its inputs may have been moved, and what may change on the way."""
        if self.recorded != recipe:
            write_text(self.recipe, resolved_yaml(recipe))

    def stage(self, name: str) -> StageDirectory:
        """The directory of a stage, made or not. RunError for a name that would lead elsewhere."""
        if not _STAGE_NAME.fullmatch(name):
            hint = "Use letters, digits, '.', '_' and '-'."
            raise RunError(f"{name!r} cannot name a stage's directory.", code="run/stage-name", hint=hint)
        return StageDirectory(self.root / name)


@contextmanager
def open_run(root: Path, recipe: Recipe) -> Iterator[RunDirectory]:
    """Create the run of `recipe` in `root`, or continue it, and hold its lock: the owner does, the others are told.

    A new run that is refused in the block, before any stage of it begins, gives its directory back.

    Raises:
        RunError: `root` holds another recipe's run, is in use by a live process, holds files that are no run's, or
            cannot be written. Every byte in it is as before.
    """
    run = RunDirectory(root)
    if not group.is_owner():
        yield run
        return
    with disk_faults(root, "cannot be used"):
        refuse_foreign(run, recipe)
        made = not root.exists()
        root.mkdir(parents=True, exist_ok=True)
    with locked(run.lock):
        refuse_foreign(run, recipe)  # a run that was begun elsewhere may have come first
        sweep(root)
        if run.record.exists():
            yield run
            return
        write_text(run.recipe, resolved_yaml(recipe))
        Lineage.create(run.record, recipe)
        try:
            yield run
        except InputError:
            if all(stage.state == "pending" for stage in run.lineage.stages):
                _give_back(root, made)
            raise


def _give_back(root: Path, made: bool) -> None:
    """All that a run has made in a directory that was empty goes; so does the directory, where it was made."""
    for entry in root.iterdir():
        remove(entry)
    if made:
        root.rmdir()


def refuse_foreign(run: RunDirectory, recipe: Recipe) -> None:
    """RunError unless `run` is absent and can be made, empty, half created, or holds exactly this recipe's run."""
    refuse_no_directory(run.root)
    if not run.root.exists():
        return
    names = {entry.name for entry in run.root.iterdir() if not entry.name.endswith(PARTIAL)}
    if names & {_LOCK, run.record.name}:
        refuse_links(run.root)
    if names <= {_LOCK}:
        return
    # The record is written last, so a creation that was cut short has the lock and at most the recipe.
    if run.record.name not in names and names != {_LOCK, run.recipe.name}:
        hint = "Give another --out, or an empty directory."
        raise RunError("holds files, but no run of truing.", code="run/not-a-run", where=str(run.root), hint=hint)
    found = differences(comparable(run.recorded), comparable(recipe))
    if found:
        what = f"holds the run of another recipe ({in_short(found)})."
        raise RunError(what, code="run/other-recipe", where=str(run.root), hint=OTHERWISE)


def _recorded(path: Path) -> Recipe:
    """The recipe that a run was begun with, its keys where they belong today."""
    try:
        return recorded_recipe(path)
    except RecipeError as fault:
        if fault.code == NEWER:
            raise
        hint = "Put it back, or give another --out."
        what = "the recipe of this run cannot be read."
        raise RunError(what, code="run/unreadable-recipe", where=str(path), hint=hint) from fault


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)
