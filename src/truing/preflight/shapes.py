"""The counts of a model that what it holds and computes follow from, read off its modules."""

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from truing.core.errors import ModelError
from truing.kernels.backbone import known_layers
from truing.kernels.text_config import text_config
from truing.preflight.layouts import Shape

HINT = "Leave --processes out: what several would hold follows from a model's layers."


def shape_of(model: PreTrainedModel) -> Shape:
    """The counts of a model, whose weights may be on the meta device.

    Raises:
        ModelError: its layers cannot be told, or attend to nothing, as those of Mamba.
    """
    layers, config = known_layers(model, hint=HINT), text_config(model)
    heads = getattr(config, "num_attention_heads", None)
    if heads is None:
        what = f"the layers of {type(model).__name__} have no heads of attention, by which what they hold is counted."
        raise ModelError(what, code="model/no-heads-of-attention", where=model.name_or_path, hint=HINT)
    linear = [part for part in layers[0].modules() if isinstance(part, nn.Linear | Conv1D)]
    products = sum(part.weight.numel() for part in linear)
    in_layers = sum(weight.numel() for weight in layers.parameters())
    sides = [model.get_input_embeddings(), model.get_output_embeddings()]  # type: ignore[no-untyped-call]
    weights = {id(part.weight): part.weight.numel() for part in sides if part is not None}
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Shape(
        layers=len(layers),
        width=config.hidden_size,
        query_width=heads * head_width,
        key_width=(getattr(config, "num_key_value_heads", None) or heads) * head_width,
        products=products,
        ends=sum(sum(part.weight.shape) for part in linear),
        others=in_layers // len(layers) - products,
        vocabulary=sum(weights.values()),
        projection=0 if sides[1] is None else sides[1].weight.numel(),
        rest=sum(weight.numel() for weight in model.parameters()) - in_layers - sum(weights.values()),
    )
