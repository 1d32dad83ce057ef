"""Whether a model's layers, and what is in them, can be shared out by number. Imports nothing heavy."""

from truing.core.errors import ModelError


def layers_hint(option: str) -> str:
    """What to do where an option that cuts layers does not suit a model."""
    return f"Leave {option} out; --processes shares rows, and compute.shard: true spreads the weights of any model."


def refuse_few_layers(layers: int, stages: int, where: str | None) -> None:
    """ModelError where a model has fewer layers than stages."""
    if layers < stages:
        what = f"has {layers} layers, which cannot be cut into {stages} stages."
        raise ModelError(what, code="model/few-layers", where=where, hint=layers_hint("--pp"))


def refuse_uneven_heads(heads: int, key_heads: int, processes: int, where: str | None) -> None:
    """ModelError where so many processes cannot have as many heads each, or as many of keys and values."""
    for name, count in {"heads": heads, "heads of keys and values": key_heads}.items():
        if count % processes:
            what = f"has {count} {name}, which {processes} processes cannot share out."
            raise ModelError(what, code="model/uneven-heads", where=where, hint=layers_hint("--tp"))
