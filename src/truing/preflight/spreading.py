"""Whether the weights of a base can be spread over processes, as far as its outline tells. Imports torch."""

from transformers import PreTrainedModel

from truing.config.sections import Base, Compute
from truing.core.errors import ModelError
from truing.kernels.backbone import known_layers
from truing.models.arrival import KEEP_ALL
from truing.models.device import device_of
from truing.models.even_shares import layers_hint
from truing.models.fetched import is_fetched
from truing.models.load import outline_base
from truing.models.spread import check_sharding
from truing.models.stage_plan import layers_for_stages
from truing.models.tensor_plan import tensor_plan
from truing.preflight.layouts import Layout


def check_spreading(base: Base | None, compute: Compute, layout: Layout) -> None:
    """Refuses what spreading would, before rows are read and anything is tried.

    Of a base that is not on this machine, or comes with a world that is not written yet, nothing is seen.

    Raises:
        RecipeError: they are to be spread in two ways, or torch is too old.
        ModelError: the base is in 4 bit, or its layers are no list, too few, or have no plan by which they are cut.
    """
    check_sharding(compute, layout.processes, layout.tensor, layout.pipeline)
    if layout.parts > 1 and base is not None and is_fetched(base):
        check_layers(outline_base(base, compute, fetch=False).model, base, layout)


def computes_on_cpu(compute: Compute) -> bool:
    """Whether the device that a recipe asks for is a CPU. RecipeError where it cannot be used."""
    return device_of(compute).type == "cpu"


def check_layers(model: PreTrainedModel, base: Base, layout: Layout) -> None:
    """ModelError where the layers of a base, whose weights may be on the meta device, cannot be spread so."""
    if layout.tensor * layout.pipeline > 1 and base.quantize != "none":
        option = "--tp" if layout.tensor > 1 else "--pp"
        what = f"is to be in 4 bit, and {option} does not cut such weights."
        raise ModelError(what, code="model/quantised-parts", where=base.path, hint=layers_hint(option))
    if layout.tensor > 1:
        tensor_plan(model, layout.tensor)
    elif layout.pipeline > 1:
        layers_for_stages(model, layout.pipeline)
    elif layout.shard:
        known_layers(model, hint=KEEP_ALL)
