"""How good the labellers were, where a run learns from rows that `truing label` exported."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from truing.core.errors import RunError
from truing.core.label_quality import describes, quality_file
from truing.runs.differences import Fingerprint
from truing.runs.directory import RunDirectory
from truing.runs.files import read_json, write_json


def keep_label_quality(run: RunDirectory, inputs: Mapping[str, Fingerprint]) -> list[Path]:
    """Copies what lies beside the run's data files into the run, once, by the names of these inputs.

    Returns:
        Files that lie there and describe other rows than the data file has now: they are left out.
    """
    kept: dict[str, Any] = {}
    stale = []
    files = {name: found for name, found in inputs.items() if name.startswith("data.") and "sha256" in found}
    for name, found in files.items():
        beside = quality_file(Path(str(found["path"])))
        if not beside.is_file():
            continue
        read = None
        with suppress(RunError):  # what cannot be read describes nothing
            read = read_json(beside)
        if describes(read, str(found["sha256"])):
            kept[name] = read
        else:
            stale.append(beside)
    if kept and not run.label_quality.exists():
        write_json(run.label_quality, kept)
    return stale
