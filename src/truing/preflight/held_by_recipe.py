"""What a recipe says that decides how much a stage holds: models, adapters and sizes."""

from math import ceil

import torch
from transformers import PreTrainedModel

from truing.config.recipe import Recipe
from truing.config.sections import MOST
from truing.config.stages import STAGES, StageSpec
from truing.kernels.fused_layer import fuses_layers
from truing.kernels.gpu.static_step import copies_products
from truing.models.device import precision_of
from truing.models.stage_plan import MICRO_BATCHES
from truing.preflight.layouts import FLOAT, HALF, Layout, Models, Numbers


def models_of(recipe: Recipe, stage: str) -> Models:
    """What a stage of the recipe holds: its base once with adapters on it, or a model for each role."""
    spec, section = STAGES[stage], getattr(recipe, stage)
    by_adapter = section.method == "lora" if hasattr(section, "method") else recipe.roles == "shared"
    trained = 2 if hasattr(section, "critic_learning_rate") else getattr(section, "members", 1)
    scored = reward_models(recipe, spec)
    averaged = scored if scored > 1 else 0  # ranks of an adapter of averaged weights; a model of these is one
    if by_adapter:
        share = recipe.lora.layers if spec.makes_policy else 1.0
        return Models(0, 1, trained * share, scored + averaged, spec.samples)
    return Models(trained, spec.has_reference + scored + min(averaged, 1), 0, 0, spec.samples)


def reward_models(recipe: Recipe, spec: StageSpec) -> int:
    """Those that score the responses of a stage: the members of what the recipe's reward stage makes."""
    members: int = getattr(recipe, spec.scored_by).members if spec.scored_by in recipe.stages and spec.scored_by else 0
    return members


def is_fused(recipe: Recipe, stage: str, model: PreTrainedModel, device: torch.device) -> bool:
    """Whether the device computes each layer of what learns in the stage in one, where no process has slices of it."""
    precision = precision_of(recipe.compute, trains=models_of(recipe, stage).trained > 0)
    return not is_quantised(recipe) and fuses_layers(model, device, precision)


def is_quantised(recipe: Recipe) -> bool:
    """Whether frozen models are in 4 bit."""
    return recipe.base is not None and recipe.base.quantize != "none"


def numbers_on(
    device: torch.device, recipe: Recipe, stage: str, layout: Layout, row_tokens: int, model: PreTrainedModel
) -> Numbers:
    """`numbers_of`, with what the device computes in one of this model, and copies to sample by."""
    fused, copied = is_fused(recipe, stage, model, device), device.type != "cpu" and copies_products(model)
    return numbers_of(recipe, stage, layout, row_tokens, fused, copied)


def numbers_of(
    recipe: Recipe, stage: str, layout: Layout, row_tokens: int, fused: bool = False, copied: bool = False
) -> Numbers:
    """What the recipe says of a stage, with the rows of a process in this layout, each of so many tokens.

    `fused` as `is_fused` says, `copied` where a device samples by copies of products, of whole layers or of slices.
    """
    compute, section = recipe.compute, getattr(recipe, stage)
    quantised = is_quantised(recipe)
    episodes = getattr(section, "episodes", recipe.evaluation.prompts)
    learnt = getattr(section, "batch_size", None) or episodes // section.minibatches
    texts = learnt * STAGES[stage].texts_per_row
    shares = layout.data * (1 if layout.pipeline == 1 else MICRO_BATCHES * layout.pipeline)
    tokens, budget = ceil(texts / shares) * row_tokens, compute.learn_tokens or MOST
    return Numbers(
        rank=recipe.lora.rank,
        compute_bytes=HALF if compute.dtype == "bfloat16" else FLOAT,
        quantised=quantised,
        learn_tokens=min(budget, tokens),
        checkpointing=compute.gradient_checkpointing,
        adapted=recipe.lora.layers if STAGES[stage].makes_policy and recipe.roles == "shared" else 1.0,
        rows=min(compute.rollout_rows or MOST, ceil(episodes / (layout.data * layout.pipeline))),
        row_tokens=row_tokens,
        accumulates=tokens > budget or layout.pipeline > 1,
        fused=fused,
        copied=copied and not layout.shard and layout.pipeline == 1 and compute.dtype == "bfloat16" and not quantised,
    )
