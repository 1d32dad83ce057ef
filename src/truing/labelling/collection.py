"""What one file of labels collects: judgements of one mode on the items of one source."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from truing.core.errors import DataError, InputError
from truing.labelling.database import Database
from truing.labelling.items import Item, Mode, in_order, spread, swaps_of
from truing.labelling.run_answers import Against
from truing.labelling.sources import controls_of, items_of
from truing.labelling.store import Store

SEED = 0
"""The order of the same items is the same whenever the page is started"""


LIBRARIES = ("starlette", "uvicorn", "markdown_it", "krippendorff")
"""Of the extra `label`"""


@dataclass(frozen=True)
class Wanted:
    """Which items are asked for."""

    source: Path
    """A run directory or a file"""
    stage: str | None = None
    """Of a run: whose answers"""
    against: Against = "start"
    """Of a run: what they stand against"""
    random_share: float = 0.2
    controls: Path | None = None
    swaps: float = 0.0
    """The share of items that are shown again with their sides changed"""


@dataclass(frozen=True)
class AskedModels:
    """Who answers the prompts, and how."""

    models: Sequence[str]
    """One or two: the directory of a run or a model, or a Hub id"""
    stage: str | None = None
    """Of runs: whose result"""
    best_of: int | None = None
    """Of one run: the best of so many by its reward model stands against a single draw"""
    tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    """What is None is as in the run, or as recipes have it"""


def labels_of(source: Path) -> Path:
    """Where the labels of a run or a file are kept, if nothing else is said: beside it."""
    return source.with_name((source.name if source.is_dir() else source.stem) + ".labels.db")


def need_web_server(where: str) -> None:
    """InputError where what serves the page is not installed."""
    missing = next((name for name in LIBRARIES if find_spec(name) is None), None)
    if missing is not None:
        hint = "pip install 'truing[label]' has it."
        what = f"the page needs {missing}, which is not installed."
        raise InputError(what, code="input/no-web-server", where=where, hint=hint)


def read_guidelines(file: str | Path | None) -> str:
    """Markdown; empty where there is no file. DataError where it cannot be read."""
    try:
        return Path(file).read_text(encoding="utf-8") if file else ""
    except (OSError, UnicodeDecodeError) as error:
        what = f"the guidelines cannot be read: {error}."
        raise DataError(what, code="data/no-guidelines", where=str(file), hint="Give a file of Markdown.") from error


def begin(labels: Path, mode: Mode | None) -> Store:
    """The store of this file, which is made where it is not there; without a `mode`, that of the file, else pairs.

    Raises:
        InputError: the file collects judgements of another mode, or cannot be used.
    """
    database = Database(labels)
    kept = cast(Mode, database.setting("mode", mode or "pairs"))
    if mode not in (None, kept):
        hint = f"Leave --mode out, or name a new file with --labels for {mode}."
        what = f"collects judgements of the mode {kept}."
        raise InputError(what, code="input/other-mode", where=str(labels), hint=hint)
    return Store(database, kept)


def existing(labels: Path) -> Store:
    """The store of a file that is there. InputError where it is not, or cannot be used."""
    if not labels.is_file():
        hint = "Name the file with --labels; without --export and the like, truing label begins one."
        raise InputError("no such file of labels.", code="input/no-labels-yet", where=str(labels), hint=hint)
    return begin(labels, None)


def items_to_ask(wanted: Wanted, mode: Mode) -> list[Item]:
    """In the order in which they are given out.

    Raises:
        DataError, RunError: as `items_of` and `controls_of` raise them.
        InputError: there is nothing to judge, or there are controls where no pairs are judged.
    """
    items = in_order(items_of(wanted.source, mode, wanted.stage, wanted.against), wanted.random_share, SEED)
    if not items:
        hint = "Its answers may all be alike; name another stage with --stage, or another file."
        raise InputError("there is nothing to judge.", code="input/no-items", where=str(wanted.source), hint=hint)
    return [*spread(items, _controls(wanted.controls, mode)), *swaps_of(items, wanted.swaps, SEED)]


def _controls(file: Path | None, mode: Mode) -> Sequence[Item]:
    if file is None:
        return []
    if mode != "pairs":
        what = f"controls are pairs, and the mode {mode} shows one answer at a time."
        raise InputError(what, code="input/no-controls", where="--controls", hint="Leave them out.")
    return controls_of(file)
