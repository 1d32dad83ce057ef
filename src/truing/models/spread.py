"""A base whose weights are spread over the processes of a run."""

from dataclasses import replace
from importlib.metadata import version

import torch
from torch import Tensor

from truing.config.sections import Compute
from truing.core.errors import ModelError, RecipeError, first_line
from truing.kernels.backbone import known_layers
from truing.models.arrival import KEEP_ALL, is_spread
from truing.models.exactness import WRONG
from truing.models.load import LoadedBase
from truing.models.padding import embedding_rows
from truing.models.same_layers import WRONG_IN_HALF, check_layers
from truing.models.stage_plan import layers_for_stages, order_of
from truing.models.tensor_plan import tensor_plan
from truing.processes import group
from truing.processes.layer_order import LayerOrder

NO_TENSOR = "Leave --tp out."
NO_PIPELINE = "Leave --pp out."
PROBE = 8
"""Tokens by which a model that was cut into stages is compared with what it was"""


def spread(base: LoadedBase, compute: Compute) -> LoadedBase:
    """The base, of whose weights each process keeps a part, where that is asked for and there are several.

    Heads that are added later stay whole in each, and so do adapters, but for the factor that is cut as its layer is;
    where layers are cut into stages, an adapter is where its layer is.

    Raises:
        ModelError: the model cannot be spread.
    """
    if group.tensor_size() > 1:
        return _cut(base)
    if group.pipeline_size() > 1:
        return _cut_into_stages(base)
    return _sharded(base) if is_spread(compute) else base


def _sharded(base: LoadedBase) -> LoadedBase:
    model = base.model
    layers = [*known_layers(model, hint=KEEP_ALL)]
    if not base.backend.pads:
        raise _refused(base, "reads rows of one length at a time, so processes would go through it unequally often.")
    vocabulary = [model.get_input_embeddings(), model.get_output_embeddings()]  # type: ignore[no-untyped-call]
    try:
        parts = group.shard(model.base_model, layers, [part for part in vocabulary if part is not None])
    except ValueError as error:
        raise _refused(base, f"has weights that cannot be spread ({first_line(error)}).") from error
    return replace(base, parts=parts)


def _cut(base: LoadedBase) -> LoadedBase:
    """Each process computes a slice of every layer; that this is the same model is seen on a few tokens."""
    model = base.model
    plan = tensor_plan(model, group.tensor_size())
    cut = replace(base, parts=group.cut(model, plan))
    paths = {module: path for path, module in model.named_modules()}
    layers = [model.get_input_embeddings(), *known_layers(model, hint=NO_TENSOR)]
    with cut.role().in_step():
        check_layers(cut.role(), {paths[layer]: layer for layer in layers}, NO_TENSOR)
    return cut


def _cut_into_stages(base: LoadedBase) -> LoadedBase:
    """Each process computes some of the layers; that this is the same model is seen on a few tokens, by the last.

    They are read twice: by all processes at once, which have the layers one after the other, and by the stages.
    """
    if getattr(base.model, "is_quantized", False):
        raise _refused(base, "is in 4 bit, and its layers are gathered to sample, which such weights are not.")
    layers, whole = [*layers_for_stages(base.model, group.pipeline_size())], list[Tensor]()

    def order() -> LayerOrder:
        return order_of(base.model, layers, lambda: whole.append(_probe(base)))

    cut = replace(base, parts=group.cut_into_stages(base.model, layers, order))
    found = _probe(cut)
    if cut.parts is not None and cut.parts.answers:
        _refuse_other_states(base, found, *whole)
    return cut


def _refuse_other_states(base: LoadedBase, found: Tensor, before: Tensor) -> None:
    off = float((found - before).abs().max() / before.abs().max())
    if not off <= (WRONG if base.backend.precision.compute == torch.float32 else WRONG_IN_HALF):
        what = f"gives other numbers once its layers are cut into stages (off by {off:.1g} of the largest)."
        raise ModelError(what, code="model/other-stages", where=base.model.name_or_path, hint=NO_PIPELINE)


@torch.no_grad()
def _probe(base: LoadedBase) -> Tensor:
    tokens = torch.arange(PROBE, device=base.model.device)[None] % embedding_rows(base.model)
    return base.role().hidden(tokens, torch.ones_like(tokens)).float()


def check_sharding(compute: Compute, processes: int, tensor: int, pipeline: int = 1) -> None:
    """RecipeError where weights are to be spread in two ways at once, or by rows and torch is too old for it."""
    if not compute.shard or processes == 1:
        return
    if tensor > 1 or pipeline > 1:
        option = "--tp" if tensor > 1 else "--pp"
        what, hint = f"true spreads weights that {option} has cut already.", f"Set it to false, or leave {option} out."
        raise RecipeError(what, code="recipe/spread-twice", where="compute.shard", hint=hint)
    from truing.processes.sharding import can_shard  # which a run of one process need not import

    if not can_shard():
        what = f"true needs torch 2.13 or newer, and this is {version('torch')}."
        raise RecipeError(what, code="recipe/old-torch", where="compute.shard", hint="Set it to false.")


def refuse_new_rows(base: LoadedBase, compute: Compute) -> None:
    """ModelError where weights are to be spread: not with rows of embeddings that an adapter learns."""
    if is_spread(compute):
        raise _refused(base, "learns rows of new tokens beside an adapter, which are not spread.")


def _refused(base: LoadedBase, what: str) -> ModelError:
    return ModelError(what, code="model/not-sharded", where=base.model.name_or_path, hint=_hint())


def _hint() -> str:
    if group.tensor_size() > 1:
        return NO_TENSOR
    return NO_PIPELINE if group.pipeline_size() > 1 else KEEP_ALL
