"""What a run is opened with: its recipe on files, its stages in order, and what both are made of, on record."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch

from truing.config import guard_functions, judge_kind, llm_rubrics, reward_sources, variant
from truing.config.plan import Planned, plan
from truing.config.recipe import Recipe
from truing.config.sections import Source
from truing.core.errors import RunError, check
from truing.models.description import quiet_transformers
from truing.models.device import device_of
from truing.models.quantised import check_quantisation
from truing.pipeline.label_quality import keep_label_quality
from truing.pipeline.world import with_world
from truing.processes import group
from truing.rewards.environment import EnvironmentProcess
from truing.rewards.python_function import OF_PAIRS, SIGNATURE, FunctionReward
from truing.runs.differences import Fingerprint
from truing.runs.directory import RunDirectory
from truing.runs.interruption import Interruption
from truing.runs.lineage import fingerprint
from truing.runs.trackers import missing_trackers


def set_up(recipe: Recipe) -> dict[str, Fingerprint]:
    """Readies this process and refuses what cannot work here; the fingerprints of the recipe's functions."""
    if recipe.compute.threads is not None:
        torch.set_num_threads(recipe.compute.threads)
    quiet_transformers()
    device = device_of(recipe.compute)
    group.connect(device)
    if recipe.base is not None and recipe.base.quantize == "nf4":
        check_quantisation(device)
    check(missing_trackers(recipe.track))
    return group.broadcast(lambda: _functions(recipe))


def open_stages(
    run: RunDirectory, recipe: Recipe, functions: dict[str, Fingerprint], stop: Interruption, say: Callable[[str], None]
) -> list[Planned]:
    """Every stage of the recipe, which and what it is made of recorded in the run; `say` is told what was mended.

    Raises:
        RunError: the run was begun with other content.
    """
    group.on_owner(lambda: _record(run, recipe, functions, stop, say))
    return list(plan(with_world(recipe, run)))


def _record(
    run: RunDirectory, recipe: Recipe, functions: dict[str, Fingerprint], stop: Interruption, say: Callable[[str], None]
) -> None:
    with stop.defer():
        grounded = with_world(recipe, run)
    run.lineage.plan([(stage.name, stage.kind) for stage in plan(grounded)])
    inputs = {name: fingerprint(path) for name, path in _inputs(grounded)}
    with stop.defer():
        beside = run.lineage.record_inputs(inputs | functions)
        run.record_places(recipe)
        stale = keep_label_quality(run, inputs)
    if beside:
        say(f"changed since the run began, and no stage learns from it: {', '.join(beside)}")
    for file in stale:
        say(f"{file} is of other rows than those beside it now, so the report leaves it out; export them again")


def waiting_stages(run: RunDirectory, stages: list[Planned]) -> list[Planned]:
    """Those that are not done.

    Raises:
        RunError: a finished one that they build on has been damaged since, or one of them should have come before it.
    """
    waiting = [stage for stage in stages if run.lineage.stage_state(stage.name) != "done"]
    names = {stage.name for stage in waiting}
    built_on = {name for stage in waiting for name in stage.builds_on.values()}
    for stage in stages:
        if stage not in waiting:
            for missing in sorted(names.intersection(stage.builds_on.values())):
                what = (
                    f"has a finished stage {stage.name} that an older truing did not build on {missing}, as it is now."
                )
                hint = "What it made stays. Begin a new run with --fork-to NEW: it takes over the stages that match."
                raise RunError(what, code="run/older-plan", where=str(run.root), hint=hint)
            group.on_owner(run.stage(stage.name).remove_checkpoints)  # a kill may have come just before
            if stage.name in built_on:
                group.on_owner(partial(_refuse_damaged, stage.name, run))
    return waiting


def refuse_changed(run: RunDirectory, functions: Mapping[str, Fingerprint]) -> None:
    """RunError where the file of a reward or judge is no longer as it was recorded: a stage is about to import it."""
    run.lineage.record_inputs({name: fingerprint(found["path"]) for name, found in functions.items()})


def refuse_other_inputs(
    run: RunDirectory, recipe: Recipe, fingerprint_of: Callable[[str], Fingerprint] = fingerprint
) -> None:
    """RunError where a run was begun with other content of its models, data or functions than they have now."""
    named = {} if recipe.world else dict(_inputs(recipe))
    kept = {name: str(found.get("path", "")) for name, found in run.lineage.facts["inputs"].items()}
    functions = {name: path for name, path in kept.items() if name not in named and Path(path).is_file()}
    run.lineage.refuse_other_inputs({name: fingerprint_of(path) for name, path in (named | functions).items()})


def _refuse_damaged(name: str, run: RunDirectory) -> None:
    """RunError where a file of a finished stage, on which later ones rest, is not as the stage left it."""
    directory = run.stage(name)
    damaged = run.lineage.damaged(name, directory.contents())
    if damaged is not None:
        what = f"has been damaged or taken away since the stage {name} ended, and what is still to come rests on it."
        hint = "Put it back, or begin a new run with --fork-to NEW: it takes over the stages that are whole."
        raise RunError(what, code="run/damaged-stage", where=str(directory.root / damaged), hint=hint)


def _functions(recipe: Recipe) -> dict[str, Fingerprint]:
    """Fingerprints of the files with the recipe's own rewards and judges.

    RewardError if one cannot be imported: better before hours of training than after.
    """
    named = {key: path for key, kind, path in _scorers(recipe) if kind in ("function", "pairs")}
    pairs = {path for _, kind, path in _scorers(recipe) if kind == "pairs"}
    loaded = {
        path: FunctionReward.load(path, recipe, OF_PAIRS if path in pairs else SIGNATURE)
        for path in set(named.values())
    }
    for function in loaded.values():
        function.end()
    files = {name: loaded[path].file for name, path in named.items()}
    for key, source in reward_sources(recipe):
        if source.kind == "environment":
            environment = EnvironmentProcess.load(source, recipe)
            environment.end()
            files[key] = environment.file
    return {name: fingerprint(file) for name, file in files.items() if file is not None}


def _scorers(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """Key, kind and path of every reward and judge, those of variants too."""
    yield from ((key, source.kind, source.path or "") for key, source in reward_sources(recipe))
    judges = {"": recipe.evaluation.judges}
    judges |= {f"variants.{name}.": variant(recipe, name).evaluation.judges for name in recipe.variants}
    for root, named in judges.items():
        if not root or named != recipe.evaluation.judges:
            for name, path in named.items():
                yield f"{root}evaluation.judges.{name}", judge_kind(recipe, path), path
    yield from guard_functions(recipe)


def _inputs(recipe: Recipe) -> Iterator[tuple[str, str]]:
    assert recipe.base is not None
    yield "base", recipe.base.path
    for name, value in recipe.data:
        if isinstance(value, Source):
            yield f"data.{name}", value.path
    yield from ((key, path) for key, kind, path in _scorers(recipe) if kind == "model")
    yield from llm_rubrics(recipe)
