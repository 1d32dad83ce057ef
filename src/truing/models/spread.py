"""A base whose weights are spread over the processes of a run."""

from dataclasses import replace
from importlib.metadata import version

from truing.config.sections import Compute
from truing.core.errors import ModelError, RecipeError, first_line
from truing.kernels.backbone import known_layers
from truing.models.arrival import KEEP_ALL, is_spread
from truing.models.load import LoadedBase
from truing.models.same_layers import check_layers
from truing.models.tensor_plan import tensor_plan
from truing.processes import group

NO_TENSOR = "Leave --tp out."


def spread(base: LoadedBase, compute: Compute) -> LoadedBase:
    """The base, of whose weights each process keeps a part, where that is asked for and there are several.

    Heads that are added later stay whole in each, and so do adapters, but for the factor that is cut as its layer is.

    Raises:
        ModelError: the model cannot be spread.
    """
    if group.tensor_size() > 1:
        return _cut(base)
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


def check_sharding(compute: Compute, processes: int, tensor: int) -> None:
    """RecipeError where weights are to be spread in two ways at once, or by rows and torch is too old for it."""
    if not compute.shard or processes == 1:
        return
    if tensor > 1:
        what, hint = "true spreads weights that --tp has cut already.", "Set it to false, or leave --tp out."
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
    hint = NO_TENSOR if group.tensor_size() > 1 else KEEP_ALL
    return ModelError(what, code="model/not-sharded", where=base.model.name_or_path, hint=hint)
