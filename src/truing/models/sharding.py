"""A base whose weights are spread over the processes of a run."""

from dataclasses import replace

from truing.config.sections import Compute
from truing.core.errors import ModelError, first_line
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
    if not compute.shard or group.size() == 1:
        return base
    model = base.model
    layers = [*known_layers(model, hint=KEEP_ALL)]
    if not base.backend.pads:
        raise _refused(base, "reads rows of one length at a time, so processes would go through it unequally often.")
    if base.new_rows:
        raise _refused(base, "learns rows of new tokens beside an adapter, which are not spread.")
    vocabulary = [model.get_input_embeddings(), model.get_output_embeddings()]  # type: ignore[no-untyped-call]
    try:
        shards = group.shard(model.base_model, layers, [part for part in vocabulary if part is not None])
    except ValueError as error:
        raise _refused(base, f"has weights that cannot be spread ({first_line(error)}).") from error
    return replace(base, shards=shards)


def _refused(base: LoadedBase, what: str) -> ModelError:
    return ModelError(what, code="model/not-sharded", where=base.model.name_or_path, hint=KEEP_ALL)
