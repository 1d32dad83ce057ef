"""What a device computes in, and how much of a stage's work it does at once, where a recipe leaves that out."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from truing.config.defaults import ON_CPU
from truing.config.recipe import Recipe
from truing.config.variants import with_changes
from truing.core.errors import ModelError
from truing.kernels.gpu.static_step import copies_products
from truing.models.device import device_of, dtype_of, least_gpu_memory
from truing.preflight.held_by_recipe import is_fused, models_of, numbers_of
from truing.preflight.layouts import ONE_PROCESS, held
from truing.preflight.shapes import shape_of

LEARN_TOKENS = (32_768, 16_384, 8_192, 4_096, 2_048)
ROLLOUT_ROWS = (512, 256, 128, 64)
"""The first of these that fits"""
GPU = torch.device("cuda")
SCORED = 2
"""As many times the tokens are scored at once as are learnt from, since no activations are kept"""
ROOM = 0.6
"""Share of a GPU's memory that counted bytes may take: a count leaves out logits, fragments and what kernels need"""


def sizes_of(recipe: Recipe, stages: Sequence[str], outline: Callable[[], PreTrainedModel]) -> dict[str, Any]:
    """By dotted keys of the recipe.

    On a CPU they are fixed: few thousand tokens fill its cores. A GPU waits for its next call unless each is large, so
    it takes as much as fits in each of the stages, by count, in one process, with rows as long as they may be. Several
    processes take as much as fits into the smallest of their GPUs: those that share layers read the same rows.

    Args:
        recipe: with all else chosen; what it names of these sizes counts for nothing here.
        stages: for which they are to do.
        outline: gives its base, whose weights may be on the meta device; asked on a GPU alone.

    Raises:
        RecipeError: the device cannot be used.
        ModelError: the base cannot be read.
    """
    memory = least_gpu_memory(device_of(recipe.compute))
    if memory is None:
        return dict(ON_CPU)
    narrow = with_changes(recipe, ON_CPU | {"compute.dtype": dtype_of(recipe.compute)})
    return sizes_within(narrow, stages, outline(), ROOM * memory)


def sizes_within(recipe: Recipe, stages: Sequence[str], model: PreTrainedModel, size: float) -> dict[str, Any]:
    """The same where counted bytes may take so much; `recipe` says what is computed in. As on a CPU where nothing fits,
    or where the model's layers cannot be told.
    """
    try:
        shape = shape_of(model)
    except ModelError:
        return ON_CPU | {"compute.dtype": recipe.compute.dtype}
    fused = {stage: is_fused(recipe, stage, model, GPU) for stage in stages}
    copied = copies_products(model)

    def fits(key: str, value: int) -> bool:
        changed = with_changes(recipe, {key: value})
        rows = recipe.data.max_length
        numbers = {stage: numbers_of(changed, stage, ONE_PROCESS, rows, fused[stage], copied) for stage in stages}
        return all(held(shape, models_of(recipe, stage), of, ONE_PROCESS).peak <= size for stage, of in numbers.items())

    def most(key: str, values: tuple[int, ...]) -> int:
        return next((value for value in values if fits(key, value)), values[-1])

    learn_tokens = most("compute.learn_tokens", LEARN_TOKENS)
    return {
        "compute.dtype": recipe.compute.dtype,
        "compute.learn_tokens": learn_tokens,
        "compute.score_tokens": learn_tokens if learn_tokens == LEARN_TOKENS[-1] else SCORED * learn_tokens,
        "compute.rollout_rows": most("compute.rollout_rows", ROLLOUT_ROWS),
    }
