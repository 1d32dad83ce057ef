"""A rehearsal: every stage of a recipe takes one step on one row, and what it saves is loaded again.

What cannot work is told in seconds, before anything is paid for: on the base itself where it is small, else on a copy
of its architecture that has random weights, and as many layers as it takes to have one of each kind.
"""

import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from truing.config.plan import Planned, plan
from truing.config.recipe import Recipe
from truing.core.errors import ModelError
from truing.core.garbage import libraries_kept
from truing.data.encode import EncodedRow
from truing.data.prepared import Prepared
from truing.estimate.classifiers import ask_classifiers
from truing.estimate.copies import bytes_of_copy, write_copy
from truing.estimate.rows import shortest_rows
from truing.estimate.shortened import ONE_THREAD, one_step
from truing.models.device import device_of, dtype_of
from truing.models.fetched import directory_of
from truing.models.first_layers import layers_of_every_kind
from truing.models.load import LoadedBase, check_base
from truing.models.saved import check_saved
from truing.models.weight_files import ADAPTER, read_settings
from truing.pipeline.execute import on_threads, run_stage, start_of
from truing.preflight.environments import try_environments
from truing.preflight.functions import call_functions, refuse_nulls_in_rubrics, samples_of
from truing.runs.directory import RunDirectory, open_run
from truing.runs.files import read_json
from truing.runs.interruption import Interruption
from truing.runs.progress import SilentProgress
from truing.runs.trackers import open_tracker

SMALL = 40e6
"""Bytes of a base that is rehearsed with itself"""
TOO_LARGE = 1.2e9
"""Bytes of a copy that cannot be made, learnt and saved in seconds"""
MOST_RATIO = 1e-3
"""How far the first ratio of probabilities may be from 1: as what was sampled is scored again"""


@on_threads(ONE_THREAD)
def rehearse(recipe: Recipe, rows: Prepared, outline: LoadedBase) -> str:
    """Takes one step of each stage, and says in a sentence what was done and how long it took.

    outline: the base without its weights.

    Raises:
        TruingError: what a stage refuses, or cannot save so that it is loaded as it was trained.
    """
    assert recipe.base is not None
    begun = time.perf_counter()
    form = outline.text_format(recipe.data)
    samples = samples_of(rows, recipe, form)
    refuse_nulls_in_rubrics(recipe, rows)
    call_functions(recipe, samples)
    try_environments(recipe, samples, form)
    asked = [*ask_classifiers(recipe, samples)]
    layers = max(layers_of_every_kind(outline.model), 1 if recipe.lora.layers == 1 else 2)
    with TemporaryDirectory() as place:
        weights = sum(weight.nbytes for weight in outline.model.parameters())
        is_small = directory_of(recipe.base) is not None and weights <= SMALL
        if not is_small:
            check_base(recipe.base, outline)
        if is_small:
            base, on = recipe.base, "the base itself"
        elif bytes_of_copy(outline.model, layers) <= TOO_LARGE:
            write_copy(outline, recipe.base, layers, Path(place) / "base")
            base = recipe.base.model_copy(update={"path": str(Path(place) / "base"), "gguf_file": None})
            on = f"a copy with random weights, {layers} of its layers"
        else:
            return " ".join(["Not rehearsed: even a copy of few layers is too large for that.", *asked])
        _perform(one_step(recipe, base), shortest_rows(recipe, rows), Path(place) / "run")
    took = f"Rehearsed in {time.perf_counter() - begun:.1f} s"
    return " ".join([f"{took}: one step of each stage on {on}, saved and loaded again.", *asked])


def _perform(recipe: Recipe, rows: Prepared, root: Path) -> None:
    with libraries_kept(), open_run(root, recipe) as run, closing(open_tracker([], recipe.name, root)) as tracker:
        for stage in plan(recipe):
            run_stage(stage, run, rows, SilentProgress(), tracker, Interruption())
            _check_ratio(stage, run)
            _check_saved(stage, run, next(iter(rows.rows.values()))[0])


def _check_saved(stage: Planned, run: RunDirectory, row: EncodedRow) -> None:
    """ModelError where what the stage saved is not what was trained."""
    directory, base, compute = run.stage(stage.name), stage.recipe.base, stage.recipe.compute
    assert base is not None
    settings = read_settings(directory.adapter / ADAPTER)
    is_plain = settings is not None and base.quantize == "none" and dtype_of(compute) == "float32"
    on_base = settings is not None and settings["base_model_name_or_path"] is not None
    tokens = torch.tensor([[*row.prompt, *row.prompt]], device=device_of(compute))
    is_reward = stage.spec.makes == "reward model"
    below = base if on_base else start_of(stage, run)
    check_saved(below, directory.model, directory.adapter if is_plain else None, is_reward, tokens)


def _check_ratio(stage: Planned, run: RunDirectory) -> None:
    """ModelError where the first ratio says that sampling and learning follow two policies."""
    deviation = read_json(run.stage(stage.name).result).get("ratio_max_deviation") or 0.0
    if deviation > MOST_RATIO and dtype_of(stage.recipe.compute) == "float32":
        what = f"what it samples and what it learns from differ: the first probability ratio is off by {deviation:.2g}."
        hint = "Use another base model, such as Llama, Qwen or Mistral."
        raise ModelError(what, code="model/off-policy", where=stage.name, hint=hint)
