"""A new run that takes over the finished stages of an older one, where the new recipe would only repeat them."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from truing.errors import RunError
from truing.plan import Planned, plan
from truing.recipe_files import load_recipe
from truing.runs.differences import Fingerprint, differs, flat
from truing.runs.directory import RunDirectory
from truing.runs.files import complete_directory, remove

ALL = (
    "seed",
    "world",
    "roles",
    "lora.rank",
    "lora.alpha",
    "lora.targets",
    "base",
    "compute.dtype",
    "data.max_length",
    "data.too_long",
    "data.transcripts",
)
ANSWERS = ("lora.layers", "data", "reward.normalisation_samples", "judges", "functions", "on_bad_score")
READ = {
    "sft": (*ALL, "sft", "data.heldout", "data.demonstrations", "data.heldout_demonstrations"),
    "reward": (*ALL, "reward", "data", "ppo.max_new_tokens", "ppo.temperature", "ppo.heldout_prompts"),
    "ppo": (*ALL, *ANSWERS, "ppo"),
    "dpo": (*ALL, *ANSWERS, "ppo", "dpo"),
}
"""The sections and fields of the recipe that the result of each kind of stage hangs on"""
BUILDS_ON = {"sft": (), "reward": ("sft",), "ppo": ("sft", "reward"), "dpo": ("sft", "reward")}
"""The stages whose result it begins with, where the recipe has them"""


def older_run(root: Path, fork: Path) -> RunDirectory:
    """The run in `root`. RunError if there is none, or if one of `root` and `fork` is the other or lies in it."""
    here, there = fork.resolve(), root.resolve()
    if here == there:
        raise RunError("is the run to begin from.", where=str(fork), mend="Give another --fork-to.")
    if here in there.parents or there in here.parents:
        which = f"{'contains' if here in there.parents else 'lies in'} the run to begin from, {root}."
        raise RunError(which, where=str(fork), mend="Give a --fork-to beside it.")
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
    return taken


def matching(old: RunDirectory, new: RunDirectory) -> list[str]:
    """The stages of `new` that `old` has finished with the same recipe, the same inputs and the same stages before.

    One of which a file has been damaged since does not match.
    """
    then = {stage.name: stage for stage in plan(load_recipe(old.recipe))}
    matched: list[str] = []
    for stage in plan(load_recipe(new.recipe)):
        before = then.get(stage.name)
        if (
            before is not None
            and old.lineage.stage_state(stage.name) == "done"
            and old.lineage.damaged(stage.name, old.stage(stage.name).contents()) is None
            and _read(before) == _read(stage)
            and foundation(before) == foundation(stage)
            and set(foundation(stage)) <= set(matched)
            and _same_inputs(stage, old.lineage.facts["inputs"], new.lineage.facts["inputs"])
        ):
            matched.append(stage.name)
    return matched


def _read(stage: Planned) -> dict[str, str]:
    """What the stage reads of its recipe; paths of data and models are left to their fingerprints."""
    values = flat(stage.recipe.model_dump())
    read = {key: value for key, value in values.items() if _within(key, READ[stage.kind])}
    by_content = [key for key in read if key.startswith(("base.", "data.")) and key.endswith(".path")]
    return {key: value for key, value in read.items() if key not in by_content and not _within(key, ("ppo.variants",))}


def foundation(stage: Planned) -> list[str]:
    """The stages whose result a stage begins with."""
    return [name for name in BUILDS_ON[stage.kind] if name in stage.recipe.stages]


def _same_inputs(stage: Planned, old: Mapping[str, Fingerprint], new: Mapping[str, Fingerprint]) -> bool:
    sections = (*READ[stage.kind], f"{stage.name}.rewards")
    names = [name for name in {*old, *new} if _within(name, sections)]
    return all(name in old and name in new and not differs(old[name], new[name]) for name in names)


def _within(key: str, sections: Sequence[str]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)
