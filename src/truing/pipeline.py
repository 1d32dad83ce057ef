"""From a recipe to a run: which stages there are, what each begins with, and what is left behind.

This is the only place that knows the whole recipe.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from truing.data.world import GOLD, WorldPaths, write_world
from truing.errors import RunError
from truing.fork import foundation, older_run, take_over
from truing.inputs.findings import Findings
from truing.inputs.stages import look_at_stages
from truing.models.base import device_of, quiet_transformers
from truing.models.functions import FunctionReward
from truing.models.layout import RewardModelFiles
from truing.models.quantised import check_quantisation
from truing.plan import Planned, plan
from truing.recipe import Base, Recipe, RewardSource, Source
from truing.report import write_report
from truing.runs.differences import Fingerprint
from truing.runs.directory import RunDirectory, open_run
from truing.runs.files import complete_directory, write_json
from truing.runs.interruption import Stop
from truing.runs.lineage import fingerprint
from truing.runs.memory import give_back
from truing.runs.progress import Progress
from truing.runs.trackers import Tracker, open_tracker
from truing.stages.dpo import train_dpo
from truing.stages.job import Job
from truing.stages.memory import memory_faults
from truing.stages.ppo import train_ppo
from truing.stages.reward import train_reward
from truing.stages.sft import train_sft

TRAIN: dict[str, Callable[[Job], dict[str, Any]]] = {
    "sft": train_sft,
    "reward": train_reward,
    "ppo": train_ppo,
    "dpo": train_dpo,
}


def run_pipeline(
    recipe: Recipe, root: Path, progress: Progress, stop: Stop | None = None, fork_of: Path | None = None
) -> RunDirectory:
    """Runs what is left of a recipe's stages in `root` and writes the report.

    With `fork_of`, stages that this older run has finished and the recipe would repeat are copied from there.

    Raises:
        RewardError: a function of the recipe cannot be imported; nothing was written.
        InputError: a stage of a new run would refuse its rows; nothing was written.
        RecipeError: a quantised base cannot be used here; nothing was written.
        RunError: `root` holds another recipe's run or is in use, or a stage that waiting ones build on was damaged.
        InterruptedRunError: `stop` was set; what was done is saved.
        TruingError: whatever a stage refuses; finished stages stay finished.
    """
    stop = stop or Stop()
    old = older_run(fork_of, root) if fork_of is not None else None
    functions = _set_up(recipe)
    if recipe.base is not None and not RunDirectory(root).record.exists():
        found = Findings()
        look_at_stages(recipe, found)
        found.check()
    with open_run(root, recipe) as run:
        with stop.held():
            grounded = with_world(recipe, run)
        stages = list(plan(grounded))
        run.lineage.plan([(stage.name, stage.kind) for stage in stages])
        inputs = {name: fingerprint(path) for name, path in _inputs(grounded, stages)}
        with stop.held():
            run.lineage.record_inputs(inputs | functions)
        if old is not None:
            progress.note(f"taken over from {old.root}: {', '.join(take_over(old, run)) or 'no stage, none matches'}")
        waiting = [stage for stage in stages if run.lineage.stage_state(stage.name) != "done"]
        built_on = {name for stage in waiting for name in foundation(stage)}
        for stage in stages:
            if stage not in waiting:
                run.stage(stage.name).settle()  # a kill may have come just before
                if stage.name in built_on:
                    _refuse_damaged(stage.name, run)
        if waiting:
            with closing(open_tracker(recipe.track, recipe.name, root)) as tracker:
                for stage in waiting:
                    _run_stage(stage, run, progress, tracker, stop)
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
    return Base(path=str(run.stage("sft").model), quantize=recipe.base.quantize)


def _set_up(recipe: Recipe) -> dict[str, Fingerprint]:
    """Readies this process and refuses what cannot work here; the fingerprints of the recipe's functions."""
    if recipe.compute.threads is not None:
        torch.set_num_threads(recipe.compute.threads)
    quiet_transformers()
    if recipe.base is not None and recipe.base.quantize == "nf4":
        check_quantisation(device_of(recipe.compute))
    return _functions(recipe)


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
    with memory_faults(stage.name):
        result = TRAIN[stage.kind](job)
    with stop.held():
        write_json(directory.result, result | {"saving_s": round(job.saving.seconds, 3)})
        run.lineage.finish(stage.name, directory.contents())
        directory.settle()
    give_back()
    if stop.requested:
        raise stop.interrupted(f"{stage.name} is done")


def _refuse_damaged(name: str, run: RunDirectory) -> None:
    """RunError where a file of a finished stage, on which later ones rest, is not as the stage left it."""
    directory = run.stage(name)
    damaged = run.lineage.damaged(name, directory.contents())
    if damaged is not None:
        raise RunError(
            f"has been damaged or taken away since the stage {name} ended, and what is still to come rests on it.",
            where=str(directory.root / damaged),
            mend="Put it back, or begin a new run with --fork-to NEW: it takes over the stages that are whole.",
        )


def _functions(recipe: Recipe) -> dict[str, Fingerprint]:
    """Fingerprints of the files with the recipe's own rewards and judges.

    RewardError if one cannot be imported: that is told before hours of training, not after.
    """
    named = {f"judges.{name}": path for name, path in recipe.judges.items()}
    named |= {name: part.path or "" for name, part in _rewards(plan(recipe)) if part.kind == "function"}
    loaded = {path: FunctionReward.load(path, recipe) for path in set(named.values())}
    for function in loaded.values():
        function.end()
    files = {name: loaded[path].file for name, path in named.items()}
    return {name: fingerprint(file) for name, file in files.items() if file is not None}


def _rewards(stages: Iterable[Planned]) -> Iterator[tuple[str, RewardSource]]:
    """The parts of the reward in every stage that asks for one, named 'ppo.rewards.0'."""
    for stage in stages:
        if stage.kind in ("ppo", "dpo"):
            for index, part in enumerate(stage.recipe.ppo.rewards):
                yield f"{stage.name}.rewards.{index}", part


def _inputs(recipe: Recipe, stages: Iterable[Planned]) -> Iterator[tuple[str, str]]:
    assert recipe.base is not None
    yield "base", recipe.base.path
    for name, value in recipe.data:
        if isinstance(value, Source):
            yield f"data.{name}", value.path
    for name, part in _rewards(stages):
        if part.kind == "model" and part.path is not None:
            yield name, part.path
