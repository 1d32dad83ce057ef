"""What goes beside exported rows: how good the labellers were; and which files were written at all."""

from dataclasses import replace
from pathlib import Path

from truing.core.label_quality import LabelQuality, quality_file, to_json
from truing.labelling.database import Database, now
from truing.labelling.people import numbers
from truing.labelling.store import Store
from truing.runs.files import sha256_file, write_json

EXPORTED = "exported "
"""Settings that name a file begin so"""


def write_quality(store: Store, quality: LabelQuality, rows: Path) -> Path:
    """Beside rows that were just exported, with people as numbers; gives the file's path.

    Raises:
        RunError: the disk refuses.
    """
    file = quality_file(rows)
    write_json(file, to_json(without_names(quality, numbers(store.database)), sha256_file(rows)))
    return file


def without_names(quality: LabelQuality, numbers: dict[str, int]) -> LabelQuality:
    """The same with people as 'labeller 3': rows, runs and reports are passed on further than names should be."""
    return replace(quality, people=[replace(one, name=f"labeller {numbers[one.name]}") for one in quality.people])


def remember(database: Database, file: Path) -> None:
    """Notes that this file was written, so that who is forgotten can be looked for in it."""
    database.setting(f"{EXPORTED}{file.resolve()}", now())


def exported(database: Database) -> list[Path]:
    """Files that were written and are still there."""
    query = "SELECT substr(name, ?) FROM settings WHERE name LIKE ? ORDER BY rowid"
    with database.reading() as sql:
        files = [Path(row[0]) for row in sql.execute(query, (len(EXPORTED) + 1, f"{EXPORTED}%"))]
    return [file for file in files if file.is_file()]
