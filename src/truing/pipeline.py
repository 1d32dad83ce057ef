"""From a recipe to a run: which stages there are, what each begins with, and what is left behind.

This is the only place that knows the whole recipe.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from truing.data.world import GOLD, WorldPaths, write_world
from truing.models.base import quiet_transformers
from truing.models.layout import RewardModelFiles
from truing.models.rewards import FunctionReward
from truing.recipe import Base, Recipe, Source
from truing.recipe_files import variant
from truing.report import write_report
from truing.runs.directory import RunDirectory, open_run
from truing.runs.files import complete_directory, remove, write_json
from truing.runs.interruption import Stop
from truing.runs.lineage import fingerprint
from truing.runs.memory import give_back
from truing.runs.progress import Progress
from truing.runs.trackers import Tracker, open_tracker
from truing.stages.dpo import train_dpo
from truing.stages.job import Job
from truing.stages.ppo import train_ppo
from truing.stages.reward import train_reward
from truing.stages.sft import train_sft

TRAIN: dict[str, Callable[[Job], dict[str, Any]]] = {
    "sft": train_sft,
    "reward": train_reward,
    "ppo": train_ppo,
    "dpo": train_dpo,
}


@dataclass(frozen=True)
class Planned:
    """A stage of a run: its directory's name, its kind, and the recipe with its variant applied."""

    name: str
    kind: str
    recipe: Recipe


def plan(recipe: Recipe) -> Iterator[Planned]:
    """The stages in order, each variant of a stage right after the stage."""
    for kind in recipe.stages:
        yield Planned(kind, kind, recipe)
        if kind == "ppo":
            for name in recipe.ppo.variants:
                yield Planned(f"ppo-{name}", kind, variant(recipe, name))


def run_pipeline(recipe: Recipe, root: Path, progress: Progress, stop: Stop | None = None) -> RunDirectory:
    """Runs what is left of a recipe's stages in `root` and writes the report.

    Raises:
        RewardError: a function of the recipe cannot be imported; nothing was written.
        RunError: `root` holds another recipe's run or is in use.
        InterruptedRunError: `stop` was set; what was done is saved.
        TruingError: whatever a stage refuses; finished stages stay finished.
    """
    if recipe.compute.threads is not None:
        torch.set_num_threads(recipe.compute.threads)
    quiet_transformers()
    _import_functions(recipe)
    with open_run(root, recipe) as run:
        grounded = with_world(recipe, run)
        stages = list(plan(grounded))
        run.lineage.plan([(stage.name, stage.kind) for stage in stages])
        run.lineage.record_inputs({name: fingerprint(path) for name, path in _inputs(grounded)})
        waiting = [stage for stage in stages if run.lineage.stage_state(stage.name) != "done"]
        if waiting:
            tracker = open_tracker(recipe.track, recipe.name, root)
            try:
                for stage in waiting:
                    _run_stage(stage, run, progress, tracker, stop or Stop())
            finally:
                tracker.close()
        if waiting or not run.report.exists():
            write_report(root)
        return run


def with_world(recipe: Recipe, run: RunDirectory) -> Recipe:
    """A recipe on the embedded world becomes one on ordinary files, written into the run."""
    if recipe.world is None:
        return recipe
    world = WorldPaths(run.root / "world")
    if not world.directory.exists():
        with complete_directory(world.directory) as partial:
            write_world(recipe.world, recipe.seed, partial)
    return on_files_of(world, recipe)


def on_files_of(world: WorldPaths, recipe: Recipe) -> Recipe:
    """A recipe on a world that has been written, as one on ordinary files."""
    files = {"demonstrations": world.demonstrations, "preferences": world.preferences, "prompts": world.prompts}
    data = recipe.data.model_copy(update={name: Source(path=str(file)) for name, file in files.items()})
    judges = {"gold": GOLD} | recipe.judges
    return recipe.model_copy(update={"base": Base(path=str(world.base)), "data": data, "judges": judges})


def start_of(kind: str, recipe: Recipe, run: RunDirectory) -> Base:
    """The model a stage begins with: the base for SFT, and for the others what SFT made of it."""
    assert recipe.base is not None
    if kind == "sft" or "sft" not in recipe.stages:
        return recipe.base
    return Base(path=str(run.stage("sft").model))


def _run_stage(stage: Planned, run: RunDirectory, progress: Progress, tracker: Tracker, stop: Stop) -> None:
    directory = run.stage(stage.name)
    run.lineage.begin(stage.name, stage.kind)
    directory.fresh()
    reward = run.stage("reward")
    job = Job(
        name=stage.name,
        recipe=stage.recipe,
        directory=directory,
        start=start_of(stage.kind, stage.recipe, run),
        reward=RewardModelFiles(reward.model, reward.adapter) if "reward" in stage.recipe.stages else None,
        progress=progress,
        tracker=tracker,
        stop=stop,
    )
    write_json(directory.result, TRAIN[stage.kind](job))
    run.lineage.finish(stage.name)
    if directory.checkpoints.is_dir():
        remove(directory.checkpoints)
    give_back()
    if stop.requested:
        raise stop.interrupted(f"{stage.name} is done")


def _import_functions(recipe: Recipe) -> None:
    """A reward or judge that cannot be imported is told before hours of training, not after."""
    parts = [part for stage in plan(recipe) if stage.kind in ("ppo", "dpo") for part in stage.recipe.ppo.rewards]
    for path in [*recipe.judges.values(), *(part.path for part in parts if part.kind == "function")]:
        FunctionReward.load(path or "")


def _inputs(recipe: Recipe) -> Iterator[tuple[str, str]]:
    assert recipe.base is not None
    yield "base", recipe.base.path
    for name, value in recipe.data:
        if isinstance(value, Source):
            yield f"data.{name}", value.path
