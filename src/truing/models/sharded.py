"""A base whose weights are spread over the processes of a run."""

from dataclasses import replace
from importlib.metadata import version

from truing.config.sections import Compute
from truing.core.errors import ModelError, RecipeError, first_line
from truing.kernels.backbone import known_layers
from truing.models.load import LoadedBase
from truing.processes import group

KEEP_ALL = "Set compute.shard: false."


def sharded(base: LoadedBase, compute: Compute) -> LoadedBase:
    """The base, of whose weights each process keeps a part, where the recipe asks for that and there are several.

    Adapters and heads that are added later stay whole in each.

    Raises:
        ModelError: the model cannot be spread.
    """
    if not _is_wanted(compute):
        return base
    model = base.model
    layers = [*known_layers(model, hint=KEEP_ALL)]
    if not base.backend.pads:
        raise _refused(base, "reads rows of one length at a time, so processes would go through it unequally often.")
    vocabulary = [model.get_input_embeddings(), model.get_output_embeddings()]  # type: ignore[no-untyped-call]
    try:
        shards = group.shard(model.base_model, layers, [part for part in vocabulary if part is not None])
    except ValueError as error:
        raise _refused(base, f"has weights that cannot be spread ({first_line(error)}).") from error
    return replace(base, shards=shards)


def check_sharding(compute: Compute) -> None:
    """RecipeError where weights are to be spread, and torch is too old for it."""
    if not _is_wanted(compute):
        return
    from truing.processes.sharding import can_shard  # which a run of one process need not import

    if not can_shard():
        what = f"true needs torch 2.13 or newer, and this is {version('torch')}."
        raise RecipeError(what, code="recipe/old-torch", where="compute.shard", hint="Set it to false.")


def refuse_new_rows(base: LoadedBase, compute: Compute) -> None:
    """ModelError where weights are to be spread: not with rows of embeddings that an adapter learns."""
    if _is_wanted(compute):
        raise _refused(base, "learns rows of new tokens beside an adapter, which are not spread.")


def _is_wanted(compute: Compute) -> bool:
    return compute.shard and group.size() > 1


def _refused(base: LoadedBase, what: str) -> ModelError:
    return ModelError(what, code="model/not-sharded", where=base.model.name_or_path, hint=KEEP_ALL)
