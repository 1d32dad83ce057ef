"""Which library computes products: measured once a machine, kept in the user's cache, recorded in each run.

A run goes on with what it has on record, whatever a later measurement would choose, so a resumed one is the same to the
byte. Where nothing can be kept, nothing is measured: two runs of a recipe would differ.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from truing.config.recipe import Recipe
from truing.core.errors import RunError
from truing.core.processor import processor
from truing.kernels.cpu.linear import suits
from truing.kernels.cpu.products import LARGE, MEASUREMENT, Products, measure_products
from truing.models.device import device_of
from truing.processes import group
from truing.runs.files import read_json, write_json
from truing.runs.lineage import Lineage

CACHE = "TRUING_CACHE"
"""Of the environment: the folder of the cache; with none, or one that cannot be written to, nothing is measured"""
PROCESSOR, ROWS = "processor", "one_dnn_from_rows"
_PRODUCTS = TypeAdapter(Products)
_KEPT = TypeAdapter(dict[str, Products])


def products_of_run(lineage: Lineage, recipe: Recipe, threads: int) -> tuple[Products, list[str]]:
    """Those of a run on so many threads, which torch has now, and a sentence where they are another machine's.

    They are recorded now where they are not yet; those of an older version, which recorded none, are the usual ones.

    Raises:
        RunError: what is on record is none.
    """
    known = lineage.facts.get("products")
    if known is None or not _chooses(recipe):
        return Products(), []
    if str(threads) not in known:
        measured = group.broadcast(lambda: {PROCESSOR: processor(), ROWS: asdict(products_of_machine(threads))})
        lineage.record_products(threads, measured)
    try:
        there, products = known[str(threads)][PROCESSOR], _PRODUCTS.validate_python(known[str(threads)][ROWS])
    except (LookupError, TypeError, ValidationError) as fault:
        what = f"run.json does not say by which products {threads} threads compute."
        raise RunError(what, code="run/products-unknown", hint="Was it edited by hand?") from fault
    here = group.broadcast(processor)
    own = there == here
    return products, [] if own else [f"products are chosen as for {there}, where the run began; this is {here}"]


def _chooses(recipe: Recipe) -> bool:
    """Whether oneDNN computes any product of a run: on a CPU in float32."""
    return (
        device_of(recipe.compute).type == "cpu"
        and recipe.compute.dtype == "float32"
        and suits(torch.empty(LARGE, device="meta"))
    )


def products_of_machine(threads: int) -> Products:
    """What this machine is fastest by on so many threads, which torch has now, or else the usual ones."""
    return measured_products(threads) or Products()


def measured_products(threads: int) -> Products | None:
    """From the cache, or measured now; None where that could not be kept."""
    place = cache_file()
    if place is None:
        return None
    key = f"{processor()}; torch {torch.__version__}; {threads} threads; measurement {MEASUREMENT}"
    kept = _kept(place)
    if key in kept:
        return kept[key]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _keep(place, kept)  # what cannot be kept is not measured
        found = measure_products()
        _keep(place, kept | {key: found})
    except (OSError, RunError):
        return None
    return found


def cache_file() -> Path | None:
    """Where measurements are kept; None where the environment names no place for them, and where nobody's home is."""
    named = os.environ.get(CACHE)
    if named is None:
        above = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(os.path.join("~", ".cache"))
        has_home = not above.startswith("~")  # a container's user may be a number that no user has
        named = os.path.join(above, "truing") if has_home else ""
    return Path(named, "products.json") if named else None


def _kept(place: Path) -> dict[str, Products]:
    """What the cache has; nothing where any of it is damaged."""
    with suppress(RunError, ValidationError):
        return _KEPT.validate_python(read_json(place))
    return {}


def _keep(place: Path, kept: Mapping[str, Products]) -> None:
    write_json(place, {key: asdict(found) for key, found in kept.items()})
