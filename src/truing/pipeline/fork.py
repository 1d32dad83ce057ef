"""A new run that takes over the finished stages of an older one, where the new recipe would only repeat them."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from truing.config import recorded_recipe
from truing.config.plan import Planned, plan
from truing.config.stages import within
from truing.core.errors import RunError
from truing.data.datasets import HELDOUT
from truing.runs.differences import Fingerprint, comparable, differences, differs, flat
from truing.runs.directory import RunDirectory
from truing.runs.files import complete_directory, remove, write_text

_FOLDERS = re.compile(r'"(/|[A-Za-z]:\\)[^"]*[/\\]')
"""Where an absolute path in quotes lies; what is there is compared by content"""


def older_run(root: Path, fork: Path) -> RunDirectory:
    """The run in `root`. RunError if there is none, or if one of `root` and `fork` is the other or lies in it."""
    here, there = fork.resolve(), root.resolve()
    if here == there:
        hint = "Give another --fork-to."
        raise RunError("is the run to begin from.", code="run/fork-onto-itself", where=str(fork), hint=hint)
    if here in there.parents or there in here.parents:
        which = f"{'contains' if here in there.parents else 'lies in'} the run to begin from, {root}."
        raise RunError(which, code="run/fork-nested", where=str(fork), hint="Give a --fork-to beside it.")
    old = RunDirectory(root)
    _ = old.lineage  # raises where no run is
    return old


def take_over(old: RunDirectory, new: RunDirectory) -> list[str]:
    """Copies every stage that matches into `new`, unless it is there already; returns their names.

    Raises:
        RunError: a stage cannot be copied.
    """
    taken: list[str] = []
    for name in matching(old, new):
        if new.lineage.stage_state(name) != "done":
            here, there = new.stage(name).root, old.stage(name).root
            if here.exists():  # a kill came between the copy and its record, or the stage had begun here
                remove(here)
            with complete_directory(here, "cannot be copied") as partial:
                shutil.copytree(there, partial, dirs_exist_ok=True)
            record = next(record for record in old.lineage.stages if record.name == name)
            new.lineage.take_over(record, old.root)
        taken.append(name)
    if old.llm_answers.exists() and not new.llm_answers.exists():  # what was paid for is not asked for again
        write_text(new.llm_answers, old.llm_answers.read_text(encoding="utf-8"))
    return taken


def matching(old: RunDirectory, new: RunDirectory) -> list[str]:
    """The stages of `new` that `old` has finished with the same recipe, the same inputs and the same stages before.

    One of which a file has been damaged since does not match.
    """
    then = {stage.name: stage for stage in plan(recorded_recipe(old.recipe))}
    matched: list[str] = []
    for stage in plan(recorded_recipe(new.recipe)):
        before = then.get(stage.name)
        if (
            before is not None
            and old.lineage.stage_state(stage.name) == "done"
            and old.lineage.damaged(stage.name, old.stage(stage.name).contents()) is None
            and _depended_on(before) == _depended_on(stage)
            and before.builds_on == stage.builds_on
            and set(stage.builds_on.values()) <= set(matched)
            and _same_inputs(stage, old.lineage.facts["inputs"], new.lineage.facts["inputs"])
        ):
            matched.append(stage.name)
    return matched


def changes(old: RunDirectory, new: RunDirectory) -> list[str]:
    """What differs between the recipes and inputs of two runs, in words; names of runs and folders do not count."""
    recipes = [flat(recorded_recipe(run.recipe).model_dump(exclude={"name"})) for run in (old, new)]
    told = differences(*({key: _FOLDERS.sub('"', value) for key, value in one.items()} for one in recipes))
    before, after = (run.lineage.facts["inputs"] for run in (old, new))
    return told + [f"other {name}" for name in after if name in before and differs(before[name], after[name])]


def _depended_on(stage: Planned) -> dict[str, str]:
    """What the stage's result depends on in its recipe; data, models and functions are left to their fingerprints."""
    values = comparable(stage.recipe)
    return {key: value for key, value in values.items() if within(key, stage.spec.depends_on)}


def _same_inputs(stage: Planned, old: Mapping[str, Fingerprint], new: Mapping[str, Fingerprint]) -> bool:
    rows = [f"data.{part}{name}" for name in stage.spec.datasets_of(stage.recipe) for part in ("", HELDOUT)]
    sections = (*stage.spec.depends_on, *rows, *([f"variants.{stage.variant}"] if stage.variant else []))
    names = [name for name in {*old, *new} if within(name, sections)]
    return all(name in old and name in new and not differs(old[name], new[name]) for name in names)
