"""Files that are complete or absent.

What is written goes to a temporary neighbour first, is forced to disk, and takes its place by a rename, which the
file system does at once or not at all. A crash at any point leaves the old file whole. A temporary neighbour that a
killed process left behind is known by its suffix and swept by the next run.
"""

import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from truing.core.errors import RunError, TrainingError

PARTIAL = ".truing-partial"
PASSED_ON = re.compile(r"os error (\d+)")
"""What libraries in Rust make of the number that the operating system gave: 'I/O error: ... (os error 28)'"""


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends, whole or not at all. RunError if the disk refuses."""
    _write(path, _encode(text))


def write_json(path: Path, value: Any) -> None:
    """Write plain Python values as `json_bytes` has them, whole or not at all. RunError if the disk refuses."""
    _write(path, json_bytes(value, where=str(path)))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of plain Python values as a line of JSON each, whole or not at all. RunError if the disk refuses."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def json_bytes(value: Any, where: str) -> bytes:
    """Plain Python values as indented JSON; see `check_plain` for what is refused."""
    check_plain(value, where)
    return _encode(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON value. RunError if the file is missing, unreadable or no JSON."""
    with disk_faults(path, "cannot be read"):
        content = path.read_bytes()
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as fault:
        hint = "Was it edited by hand?"
        raise RunError(f"is no JSON: {fault}.", code="run/not-json", where=str(path), hint=hint) from fault


def check_plain(value: Any, where: str, key: str = "") -> None:
    """Let only what JSON can say pass: str, bool, int, finite float, None, and lists and dicts of these.

    Raises:
        TrainingError: a number that is not finite, named by `where` and its dotted key.
        TypeError: anything else, a tensor or a numpy scalar for one, which would drag its own rounding into the file.
    """
    if type(value) is dict:
        for name, item in value.items():
            if type(name) is not str:
                raise TypeError(f"{where}: the key {name!r} is no str")
            check_plain(item, where, f"{key}.{name}" if key else name)
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            check_plain(item, where, f"{key}.{index}")
    elif type(value) is float:
        if not math.isfinite(value):
            raise TrainingError(f"{key} is {value}, not a finite number.", code="training/not-finite", where=where)
    elif value is not None and type(value) not in (str, bool, int):
        raise TypeError(f"{where}: {key} is a {type(value).__module__}.{type(value).__qualname__}, not a plain value")


@contextmanager
def complete_directory(final: Path, what: str = "cannot be written", hint: str | None = None) -> Iterator[Path]:
    """Yield a new directory beside `final`; when the block ends well it becomes `final`, else it is removed.

    The block writes its files plainly: each is forced to disk once, when all are there.

    Raises:
        RunError: `final` exists already, or the disk refuses, in the block or around it; says `what` and the `hint`.
    """
    if os.path.lexists(final):
        where = str(final)
        raise RunError("exists already and is not written over.", code="run/exists", where=where, hint="Move it away.")
    partial = _partial(final)
    with disk_faults(final, what, hint):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            yield partial
            _sync_tree(partial)
            os.rename(partial, final)
            _sync_directory(final.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def sweep(directory: Path) -> None:
    """Remove the temporary neighbours that a killed process left in `directory`."""
    for leftover in directory.glob(f".*{PARTIAL}"):
        remove(leftover)


def refuse_no_directory(path: Path) -> None:
    """RunError where a path is no directory and can be none: there, or above it, is a file or a link to nowhere.

    So is one in which this user, or anybody, may not write.
    """
    there = next((place for place in (path, *path.parents) if os.path.lexists(place)), None)
    if there is None:
        return
    if not there.is_dir():
        what = "is a link that leads nowhere." if there.is_symlink() else "is a file, not a directory."
        raise RunError(what, code="run/no-directory", where=str(there), hint="Give another --out.")
    if not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be used: nothing can be written there."
        raise RunError(what, code="run/not-writable", where=str(there), hint="Give another --out.")


def refuse_unwritable(file: Path) -> None:
    """RunError where a file cannot be written, as far as that shows before there is anything to write.

    What is written takes the place of what is there, which a link to somewhere, a pipe or /dev/null must not lose.
    """
    folder = file.absolute().parent
    if file.is_dir():
        what = "is a directory, and a file is to be written."
    elif not folder.is_dir():
        what = f"cannot be written: there is no directory {folder}."
    elif not _is_plain(file):
        what = "is a link, a pipe or a device, and a file would take its place."
    elif not os.access(folder, os.W_OK | os.X_OK):
        what = "cannot be written: nothing can be written beside it."
    else:
        return
    raise RunError(what, code="run/unwritable", where=str(file), hint="Name another file.")


def refuse_links(directory: Path) -> None:
    """RunError where something in it, at any depth, is a link that leads out of it, a pipe or a device.

    Whoever follows such a link reads, writes over or removes what is somebody else's.
    """
    root = os.path.realpath(directory)
    with disk_faults(directory, "cannot be read"):
        for folder, inner, names in os.walk(directory):
            for place in (Path(folder, name) for name in (*inner, *names)):
                if not _is_plain(place) and not (
                    place.is_symlink() and Path(os.path.realpath(place)).is_relative_to(root)
                ):
                    what = "leads out of the run or is no file at all, and a run holds what it is made of."
                    hint = "Put a plain file or directory in its place."
                    raise RunError(what, code="run/link", where=str(place), hint=hint)


def _is_plain(path: Path) -> bool:
    """A file or directory; what a live run has removed meanwhile passes too."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def remove(path: Path) -> None:
    """Remove a file, a link (never what it points to) or a whole directory. RunError if the disk refuses."""
    with disk_faults(path, "cannot be removed"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, read in blocks. RunError if it cannot be read."""
    with disk_faults(path, "cannot be read"), open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def disk_faults(path: Path, what: str, hint: str | None = None) -> Iterator[None]:
    """Turn what the operating system refuses in the block into a RunError: '`path`: `what`: no space left.'"""
    try:
        yield
    except Exception as fault:
        if not _is_of_the_system(fault):
            raise
        where = str(path)
        raise RunError(f"{what}: {_reason(fault).lower()}.", code="run/unreadable", where=where, hint=hint) from fault


def _is_of_the_system(fault: Exception) -> bool:
    """Whether the operating system refused; tokenizers, which has no class of its own, passes that on as Exception."""
    return isinstance(fault, OSError | SafetensorError) or (
        type(fault) is Exception and PASSED_ON.search(str(fault)) is not None
    )


def _reason(fault: Exception) -> str:
    """What the operating system said."""
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    number = PASSED_ON.search(str(fault))
    return os.strerror(int(number[1])) if number else str(fault)


def _encode(text: str) -> bytes:
    """UTF-8; a lone surrogate, which has none, as the escape that JSON has for it."""
    return text.encode("utf-8", errors="backslashreplace")


def _write(path: Path, content: bytes) -> None:
    partial = _partial(path)
    with disk_faults(path, "cannot be written", hint="What was there before is untouched."):
        try:
            partial.write_bytes(content)
            sync_file(partial)
            os.replace(partial, path)
            _sync_directory(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")


def _sync_tree(directory: Path) -> None:
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            sync_file(Path(folder, name))
        _sync_directory(Path(folder))


def sync_file(path: Path) -> None:
    """Force a file to disk."""
    mode = "rb+" if os.name == "nt" else "rb"  # Windows forces only what is open for writing
    with open(path, mode) as handle:
        os.fsync(handle.fileno())


def _sync_directory(directory: Path) -> None:
    """Force a rename to disk. Windows opens no directories and journals its renames itself."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
