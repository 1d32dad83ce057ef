"""Whether a model's layers, and what is in them, can be shared out by number. Imports nothing heavy."""

from collections.abc import Sequence
from math import gcd

from truing.core.errors import ModelError


def layers_hint(option: str, numbers: str = "") -> str:
    """What to do where an option that cuts layers does not suit a model: with these `numbers` it would, if any."""
    leave = f"Give {option} {numbers}, or leave" if numbers else "Leave"
    return f"{leave} {option} out; --processes shares rows, and compute.shard: true spreads the weights of any model."


def refuse_few_layers(layers: int, stages: int, where: str | None) -> None:
    """ModelError where a model has fewer layers than stages."""
    if layers < stages:
        what = f"has {layers} layers, which cannot be cut into {stages} stages."
        hint = layers_hint("--pp", "" if layers < 2 else "2" if layers == 2 else f"2 to {layers}")
        raise ModelError(what, code="model/few-layers", where=where, hint=hint)


def refuse_uneven_heads(
    heads: int, key_heads: int, processes: int, where: str | None, widths: Sequence[int] = ()
) -> None:
    """ModelError where so many processes cannot have as many heads each, or as many of keys and values.

    `widths` are those of the layers that are to be cut besides, as far as they are known.
    """
    for name, count in {"heads": heads, "heads of keys and values": key_heads}.items():
        if count % processes:
            what = f"has {count} {name}, which {processes} processes cannot share out."
            hint = layers_hint("--tp", divisors(heads, key_heads, *widths))
            raise ModelError(what, code="model/uneven-heads", where=where, hint=hint)


def divisors(*counts: int) -> str:
    """'2, 4 or 8', the numbers of processes over which each of these can be shared out evenly; empty for none."""
    common = gcd(*counts)
    found = [str(number) for number in range(2, common + 1) if common % number == 0]
    return " or ".join(filter(None, [", ".join(found[:-1]), *found[-1:]]))
