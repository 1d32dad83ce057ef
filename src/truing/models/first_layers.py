"""A model's lowest layers, for what can be asked of a few of them in the place of all."""

from transformers import PretrainedConfig, PreTrainedModel

from truing.kernels.backbone import decoder_layers


def keep_layers(config: PretrainedConfig, layers: int) -> None:
    """Leaves a model's config so many of its layers, the lowest."""
    own = config.get_text_config(decoder=True)
    if layers < getattr(own, "num_hidden_layers", 0):
        for name, value in own.to_dict().items():
            if isinstance(value, list) and len(value) == own.num_hidden_layers:  # such as the kind of each layer
                setattr(own, name, value[:layers])
        own.num_hidden_layers = layers


def layers_of_every_kind(model: PreTrainedModel) -> int:
    """How many of a model's lowest layers have one of each kind."""
    found = decoder_layers(model)
    first_of: dict[tuple[str, ...], int] = {}
    for place, layer in enumerate([] if found is None else found[1]):
        first_of.setdefault(tuple(type(part).__name__ for part in layer.modules()), place)
    return max(first_of.values(), default=0) + 1
