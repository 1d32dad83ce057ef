"""From a recipe to a run: check, open, execute what is left."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from truing.config import with_changes
from truing.config.defaults import as_begun
from truing.config.plan import Planned
from truing.config.recipe import Recipe
from truing.config.sections import Base
from truing.core.people import People
from truing.core.results import to_json
from truing.data.prepared import Prepared
from truing.kernels.cpu.products import computed_by
from truing.models.device import unused_gpu
from truing.models.layout import RewardModelFiles
from truing.models.load import LoadedBase, run_model
from truing.pipeline.choices import chosen_for
from truing.pipeline.fork import changes, older_run, take_over
from truing.pipeline.gate import refuse_unsound
from truing.pipeline.launching import launch_remarks, refuse_spreading
from truing.pipeline.opening import open_stages, refuse_changed, set_up, waiting_stages
from truing.pipeline.products import products_of_run
from truing.pipeline.rows import check_inputs, rows_of_run
from truing.preflight.looks import looks_remarks, people_remarks
from truing.preflight.servers import server_remarks
from truing.processes import group
from truing.runs.differences import Fingerprint
from truing.runs.directory import RunDirectory, StageDirectory, open_run, refuse_foreign
from truing.runs.files import disk_faults, refuse_links, write_json
from truing.runs.interruption import Interruption
from truing.runs.memory import release_memory
from truing.runs.progress import Progress
from truing.runs.trackers import Tracker, open_tracker
from truing.training.job import Job
from truing.training.memory import memory_faults

Rehearse = Callable[[Recipe, Prepared, LoadedBase], str]
"""Takes one step of each stage, and says what was done; from a recipe, its rows and its base without weights"""


def run_pipeline(
    recipe: Recipe,
    root: Path,
    progress: Progress,
    stop: Interruption | None = None,
    fork_of: Path | None = None,
    rehearse: Rehearse | None = None,
    people: People | None = None,
) -> RunDirectory:
    """Runs what is left of a recipe's stages in `root`.

    With `fork_of`, stages that this older run has finished and the recipe would repeat are copied from there. A new run
    is rehearsed first where there is something to do so, and what that says is told. `people` judge where the
    recipe has them do so on a page.

    Raises:
        RewardError: a function of the recipe cannot be imported, and nothing was written; or a stage would learn from a
            reward model that has learnt nothing, and finished stages stay finished.
        InputError: a stage of a new run would refuse its rows; nothing was written.
        RecipeError, ModelError: the base cannot be quantised here, or not be spread so; nothing was written.
        EngineError: a server that is to sample is not there; no stage was begun.
        RunError: `root` holds another recipe's run or is in use, or a stage that waiting ones build on was damaged.
        InterruptedRunError: `stop` was set; what was done is saved.
        TruingError: whatever a stage refuses; finished stages stay finished.
    """
    stop = stop or Interruption()
    older = None if fork_of is None else older_run(fork_of, root)
    recipe = group.broadcast(lambda: recipe_as_begun(recipe, RunDirectory(root)))
    read, functions = _checked(recipe, root, progress, rehearse)
    with open_run(root, recipe) as run:
        stages = open_stages(run, recipe, functions, stop, progress.note)
        if older is not None:
            group.on_owner(lambda: _fork(older, run, progress))
        waiting = waiting_stages(run, stages)
        if not waiting:
            progress.note(f"{root}: every stage is done, so there is nothing left to run")
            return run
        run.lineage.go_on(recipe)
        if recipe.base is None:
            refuse_spreading(stages[0].recipe)  # of the world's base, which is there by now
        of_world = group.on_owner(lambda: _world_rehearsed(stages[0].recipe, run, progress, rehearse))
        rows = rows_of_run(run, stages[0].recipe, read or of_world, stop)
        servers = group.broadcast(lambda: _servers_asked(waiting, run, rows))
        remarks = [*unused_gpu(recipe.compute), *servers, *launch_remarks(stages[0].recipe)]
        remarks += [*looks_remarks(recipe), *people_remarks(recipe)]
        for remark in [*remarks, *rows.remarks]:
            progress.note(remark)
        with closing(open_tracker(recipe.track if group.is_owner() else [], recipe.name, root)) as tracker:
            for stage in waiting:
                refuse_unsound(stage, run, progress)
                refuse_changed(run, functions)
                run_stage(stage, run, rows, progress, tracker, stop, people)
        return run


def _checked(
    recipe: Recipe, root: Path, progress: Progress, rehearse: Rehearse | None
) -> tuple[Prepared | None, dict[str, Fingerprint]]:
    """Before a run is opened: the rows of a new one, read and rehearsed with, and the recipe's functions."""
    group.on_owner(lambda: _refuse_place(root, recipe))
    refuse_spreading(recipe)
    checked = group.on_owner(lambda: None if RunDirectory(root).record.exists() else check_inputs(recipe))
    functions = set_up(recipe)

    def rehearsed() -> None:
        if checked is not None and rehearse is not None:
            progress.note(rehearse(recipe, *checked))

    group.on_owner(rehearsed)
    return None if checked is None else checked[0], functions


def _refuse_place(root: Path, recipe: Recipe) -> None:
    """RunError where this run cannot be in `root`: told before anything is read and rehearsed for minutes."""
    with disk_faults(root, "cannot be used", hint="Give another --out."):
        refuse_foreign(RunDirectory(root), recipe)


def _world_rehearsed(
    recipe: Recipe, run: RunDirectory, progress: Progress, rehearse: Rehearse | None
) -> Prepared | None:
    """The rows of an embedded world, rehearsed with; its files are there once a run is opened, unlike any others."""
    if recipe.world is None or rehearse is None or run.prepared.exists():
        return None
    checked = check_inputs(recipe)
    assert checked is not None, "the world has its base with it"
    progress.note(rehearse(recipe, *checked))
    return checked[0]


def _servers_asked(waiting: Sequence[Planned], run: RunDirectory, rows: Prepared) -> list[str]:
    """Asks the servers that are to sample for what is left of a run, and says of which model there is none yet."""
    names = {stage.name for stage in waiting}
    starts = [stage.builds_on.get(stage.spec.starts_from or "") for stage in waiting]
    return [
        sentence
        for stage, before in zip(waiting, starts, strict=True)
        for sentence in server_remarks(stage, rows, None if before in names else start_of(stage, run))
    ]


def _fork(older: RunDirectory, run: RunDirectory, progress: Progress) -> None:
    taken = ", ".join(take_over(older, run)) or "no stage, none matches"
    progress.note(f"taken over from {older.root}: {taken}")
    run.lineage.record_fork(older.root, changes(older, run))


def recipe_as_begun(recipe: Recipe, run: RunDirectory) -> Recipe:
    """The recipe, with what a run that an older truing began has where today's leaves it to be chosen."""
    with disk_faults(run.root, "cannot be used", hint="Give another --out."):  # a name may be too long for a file
        is_there = run.record.is_file() and run.recipe.is_file()
    if not is_there:
        return recipe
    refuse_links(run.root)
    return as_begun(recipe, run.recorded)


def start_of(stage: Planned, run: RunDirectory) -> Base:
    """The model a stage begins with: what an earlier stage made, or the base.

    Raises:
        ModelError: that stage's directory has code which is not the base's, and the base's may run.
    """
    base = stage.recipe.base
    assert base is not None
    before = stage.builds_on.get(stage.spec.starts_from or "")
    return base if before is None else run_model(run.stage(before).model, base)


def adapter_beneath(stage: Planned, run: RunDirectory) -> Path | None:
    """The adapter from which the model that a stage begins with was merged, where an earlier stage made it so."""
    before = stage.builds_on.get(stage.spec.starts_from or "")
    return run.stage(before).adapter if before and run.stage(before).adapter.exists() else None


def files_of_base(run: RunDirectory) -> dict[str, str]:
    """SHA-256 of the files of the recipe's base, by their names; none where they are not on record."""
    return dict(run.lineage.facts["inputs"].get("base", {}).get("files", {}))


def files_of_start(stage: Planned, run: RunDirectory) -> dict[str, str]:
    """The same of the model that a stage begins with."""
    before = stage.builds_on.get(stage.spec.starts_from or "")
    if before is None:
        return files_of_base(run)
    folder = f"{run.stage(before).model.name}/"
    made = next((record.files or {} for record in run.lineage.stages if record.name == before), {})
    return {name.removeprefix(folder): digest for name, digest in made.items() if name.startswith(folder)}


def reward_files(stage: StageDirectory) -> RewardModelFiles:
    """What a finished reward stage left there."""
    members = tuple(RewardModelFiles(member.model, member.adapter) for member in stage.members)
    return RewardModelFiles(stage.model, stage.adapter, members, stage.member_scores if members else None)


@contextmanager
def on_threads(number: int) -> Iterator[None]:
    """Inside, torch has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_stage(
    stage: Planned,
    run: RunDirectory,
    rows: Prepared,
    progress: Progress,
    tracker: Tracker,
    stop: Interruption,
    people: People | None = None,
) -> None:
    """Runs a stage in its own directory and records what it left there.

    Raises:
        TruingError: whatever the stage refuses; a TrainingError where memory does not suffice.
    """
    directory = run.stage(stage.name)
    chosen, remarks = chosen_for(stage, rows, run.lineage.record(stage.name))
    recipe = with_changes(stage.recipe, chosen) if chosen else stage.recipe
    for remark in remarks:
        progress.note(f"{stage.name}: {remark}")
    threads = recipe.compute.threads or torch.get_num_threads()
    run.lineage.begin(stage.name, stage.kind, threads, chosen, remarks)
    group.on_owner(directory.reset)
    scorer = stage.builds_on.get(stage.spec.scored_by or "")
    job = Job(
        name=stage.name,
        spec=stage.spec,
        recipe=recipe,
        directory=directory,
        start=start_of(stage, run),
        beneath=adapter_beneath(stage, run),
        start_files=files_of_start(stage, run),
        base_files=files_of_base(run),
        reward=None if scorer is None else reward_files(run.stage(scorer)),
        rows=rows,
        progress=progress,
        tracker=tracker,
        stop=stop,
        people=people,
    )
    with memory_faults(stage.name), on_threads(threads):
        products, said = products_of_run(run.lineage, recipe, threads)
        for remark in said:
            progress.note(f"{stage.name}: {remark}")
        with computed_by(products), job.whole:
            result = stage.spec.load(stage.spec.train)(job)
    with stop.defer():
        finished = to_json(result) | {"saving_s": round(job.saving.seconds, 3)}
        group.on_owner(lambda: write_json(directory.result, finished))
        run.lineage.finish(stage.name, group.broadcast(directory.contents), job.whole.seconds)
        group.on_owner(directory.remove_checkpoints)
    release_memory()
    if stop.requested:
        raise stop.interrupted(f"{stage.name} is done")
