"""From a recipe to a run: which stages there are, what each begins with, and what is left behind.

This is the only place that knows the whole recipe.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import torch

from truing.config.plan import Planned, plan
from truing.config.recipe import Recipe
from truing.config.sections import Base, RewardConfig, Source
from truing.core.errors import RunError
from truing.core.results import to_json
from truing.data.prepared import Prepared
from truing.models.layout import RewardModelFiles
from truing.models.load import device_of, quiet_transformers
from truing.models.quantised import check_quantisation
from truing.pipeline.fork import older_run, take_over
from truing.pipeline.rows import check_inputs, rows_of_run
from truing.pipeline.world import with_world
from truing.report import write_report
from truing.rewards.python_function import FunctionReward
from truing.runs.differences import Fingerprint
from truing.runs.directory import RunDirectory, open_run
from truing.runs.files import write_json
from truing.runs.interruption import Stop
from truing.runs.lineage import fingerprint
from truing.runs.memory import release_memory
from truing.runs.progress import Progress
from truing.runs.trackers import Tracker, open_tracker
from truing.training.job import Job
from truing.training.memory import memory_faults


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
    begun = RunDirectory(root).record.exists()
    rows = None if begun else check_inputs(recipe)
    functions = _set_up(recipe)
    with open_run(root, recipe) as run:
        with stop.defer():
            grounded = with_world(recipe, run)
        stages = list(plan(grounded))
        run.lineage.plan([(stage.name, stage.kind) for stage in stages])
        inputs = {name: fingerprint(path) for name, path in _inputs(grounded, stages)}
        with stop.defer():
            run.lineage.record_inputs(inputs | functions)
        if old is not None:
            progress.note(f"taken over from {old.root}: {', '.join(take_over(old, run)) or 'no stage, none matches'}")
        waiting = [stage for stage in stages if run.lineage.stage_state(stage.name) != "done"]
        built_on = {name for stage in waiting for name in stage.builds_on.values()}
        for stage in stages:
            if stage not in waiting:
                run.stage(stage.name).remove_checkpoints()  # a kill may have come just before
                if stage.name in built_on:
                    _refuse_damaged(stage.name, run)
        if waiting:
            rows = rows_of_run(root, grounded, inputs, rows, stop)
            with closing(open_tracker(recipe.track, recipe.name, root)) as tracker:
                for stage in waiting:
                    _run_stage(stage, run, rows, progress, tracker, stop)
        if waiting or not run.report.exists():
            write_report(root)
        return run


def start_of(stage: Planned, run: RunDirectory) -> Base:
    """The model a stage begins with: what an earlier stage made, or the base."""
    base = stage.recipe.base
    assert base is not None
    before = stage.builds_on.get(stage.spec.starts_from or "")
    return base if before is None else Base(path=str(run.stage(before).model), quantize=base.quantize)


def _set_up(recipe: Recipe) -> dict[str, Fingerprint]:
    """Readies this process and refuses what cannot work here; the fingerprints of the recipe's functions."""
    if recipe.compute.threads is not None:
        torch.set_num_threads(recipe.compute.threads)
    quiet_transformers()
    if recipe.base is not None and recipe.base.quantize == "nf4":
        check_quantisation(device_of(recipe.compute))
    return _functions(recipe)


def _run_stage(
    stage: Planned, run: RunDirectory, rows: Prepared, progress: Progress, tracker: Tracker, stop: Stop
) -> None:
    directory = run.stage(stage.name)
    run.lineage.begin(stage.name, stage.kind)
    directory.reset()
    scorer = stage.builds_on.get(stage.spec.scored_by or "")
    job = Job(
        name=stage.name,
        spec=stage.spec,
        recipe=stage.recipe,
        directory=directory,
        start=start_of(stage, run),
        reward=None if scorer is None else RewardModelFiles(run.stage(scorer).model, run.stage(scorer).adapter),
        rows=rows,
        progress=progress,
        tracker=tracker,
        stop=stop,
    )
    with memory_faults(stage.name):
        result = stage.spec.load(stage.spec.train)(job)
    with stop.defer():
        write_json(directory.result, to_json(result) | {"saving_s": round(job.saving.seconds, 3)})
        run.lineage.finish(stage.name, directory.contents())
        directory.remove_checkpoints()
    release_memory()
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
            hint="Put it back, or begin a new run with --fork-to NEW: it takes over the stages that are whole.",
        )


def _functions(recipe: Recipe) -> dict[str, Fingerprint]:
    """Fingerprints of the files with the recipe's own rewards and judges.

    RewardError if one cannot be imported: that is told before hours of training, not after.
    """
    named = {f"evaluation.judges.{name}": path for name, path in recipe.evaluation.judges.items()}
    named |= {name: part.path or "" for name, part in _rewards(plan(recipe)) if part.kind == "function"}
    loaded = {path: FunctionReward.load(path, recipe) for path in set(named.values())}
    for function in loaded.values():
        function.end()
    files = {name: loaded[path].file for name, path in named.items()}
    return {name: fingerprint(file) for name, file in files.items() if file is not None}


def _rewards(stages: Iterable[Planned]) -> Iterator[tuple[str, RewardConfig]]:
    """The parts of the reward in every stage that asks for one, named 'rewards.sources.0'."""
    for stage in stages:
        if stage.spec.makes_policy:
            for index, part in enumerate(stage.recipe.rewards.sources):
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
