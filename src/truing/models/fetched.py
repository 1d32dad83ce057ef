"""Where a base's files are on this machine, if they are. Imports nothing heavy."""

import os
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from truing.config.sections import Base


def is_fetched(base: Base) -> bool:
    """Whether the base's config and weights are on this machine: in a directory, or fetched from the Hub before."""
    directory = directory_of(base)
    return directory is not None and (base.gguf_file is not None or any(directory.glob("*.safetensors")))


def directory_of(base: Base) -> Path | None:
    """Where the base's files are on this machine; None where its config is not."""
    name = base.gguf_file or "config.json"
    if os.path.isdir(base.path):
        file = Path(base.path, name)
        return file.parent if file.is_file() else None
    try:
        found = try_to_load_from_cache(base.path, name)
    except HFValidationError:  # a path to nowhere, which no Hub id looks like
        return None
    return Path(found).parent if isinstance(found, str) else None
