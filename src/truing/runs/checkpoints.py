"""Checkpoints: all that the next step depends on, complete or absent, and held to its hashes before it is used.

    checkpoints/step-00000100/
        tensors.safetensors   weights that train, moments of the optimiser
        shard-00000.safetensors, shard-00001.safetensors, ...
                              of weights that several processes have a part of, and of their moments, that of each
        state.json            plain values: counts, cursors, the controller
        manifest.json         SHA-256 of all these, written last

    checkpoints/pinned.json   {"step": 100}: the one that is kept to go back to, where there is one

A directory takes its place by one rename, so a kill leaves either the whole checkpoint or none. The formats hold
numbers and text alone: reading them runs no code.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from truing.core.errors import RunError, TrainingError
from truing.processes import group
from truing.runs.files import (
    complete_directory,
    disk_faults,
    json_bytes,
    read_json,
    remove,
    sha256_file,
    sweep,
    sync_file,
    write_json,
)

TENSORS, SHARD, STATE = "tensors.safetensors", "shard-{:05d}.safetensors", "state.json"
MANIFEST = "manifest.json"
PIN = "pinned.json"
FORMAT = 2
"""Of what is written; 1 named weights by their number, which says nothing of which model they are"""


@dataclass(frozen=True)
class Checkpoint:
    """One that was found whole."""

    step: int
    tensors: Mapping[str, Tensor]
    state: dict[str, Any]


@dataclass(frozen=True)
class Part:
    """What one process has of a tensor; those of all that have any are put together along one axis."""

    tensor: Tensor
    axis: int


def save_checkpoint(
    place: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    state: dict[str, Any],
    keep_last: int,
    own_parts: Mapping[str, Part] | None = None,
) -> None:
    """Writes `place`/step-…, reads it back, and only then removes all but the newest `keep_last`.

    Where there are `own_parts` of tensors, all other processes are in `write_shard` with theirs.

    Raises:
        TrainingError: a tensor holds a number that is not finite; nothing is written.
        RunError: the disk refuses, or what was written reads back otherwise; older checkpoints are untouched.
    """
    final = _directory(place, step)
    _refuse_broken(tensors, final)
    with complete_directory(final, hint="Older checkpoints are untouched.") as partial:
        shards = {} if own_parts is None else write_shard(own_parts, partial)
        save_file(dict(tensors), partial / TENSORS)
        (partial / STATE).write_bytes(json_bytes({"format": FORMAT, "step": step, **state}, where=str(final / STATE)))
        digests = {name: sha256_file(partial / name) for name in (TENSORS, STATE)} | shards
        (partial / MANIFEST).write_bytes(json_bytes(digests, where=str(final / MANIFEST)))
    fault = _fault(final)
    if fault:
        raise RunError(f"was written and {fault}.", code="run/not-kept", where=str(final), hint="Check the disk.")
    for old in _saved(place)[:-keep_last]:
        if old != _pinned(place):
            remove(old)


def write_shard(own_parts: Mapping[str, Part], partial: Path | None = None) -> dict[str, str]:
    """Writes this process's parts into the checkpoint under way, whose directory the owner alone knows and passes.

    One whose parts are those of another writes none.

    Returns:
        The files of all processes, and SHA-256 of each.

    Raises:
        TrainingError: a part holds a number that is not finite.
        RunError: the disk refuses.
    """
    file = Path(group.broadcast(lambda: str(partial)), SHARD.format(group.rank()))
    tensors = {name: part.tensor for name, part in own_parts.items()}
    axes = {name: str(part.axis) for name, part in own_parts.items() if part.axis}
    _refuse_broken(tensors, file)
    if tensors:
        with disk_faults(file, "cannot be written", hint="Make room there. All processes have to see that directory."):
            save_file(tensors, file, metadata=axes)
            sync_file(file)
    written = group.all_gather((file.name, sha256_file(file)) if tensors else None)
    return dict(one for one in written if one is not None)


def _refuse_broken(tensors: Mapping[str, Tensor], where: Path) -> None:
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        hint = "The newest checkpoint before it is sound: lower the learning rate and start a fork of the run."
        what = f"{', '.join(broken[:5])} is not finite and is not saved."
        raise TrainingError(what, code="training/not-finite", where=str(where), hint=hint)


def is_saved(place: Path, step: int) -> bool:
    """Whether there is a checkpoint of this step."""
    return _directory(place, step).exists()


def pin_checkpoint(place: Path, step: int) -> None:
    """Keeps the checkpoint of this step however many follow; the one that was pinned before is as any other again."""
    write_json(place / PIN, {"step": step})


def pinned_checkpoint(place: Path) -> Checkpoint:
    """The one that is pinned. RunError where none is, or it is damaged."""
    path = _pinned(place)
    found = "none is pinned" if path is None else _read(path)
    if not isinstance(found, Checkpoint):
        hint = "Add --fork-to NEW to begin a run from the stages that are finished."
        what = f"there is no step to go back to: {found}."
        raise RunError(what, code="run/no-checkpoint", where=str(path or place), hint=hint)
    return found


def remove_after(place: Path, step: int) -> None:
    """Removes the checkpoints of later steps, so that a run that is killed now goes on from this one."""
    for later in _saved(place):
        if later.name > _directory(place, step).name:
            remove(later)


def read_checkpoint(place: Path, step: int) -> Checkpoint:
    """One that another process of this run has found whole. RunError where it no longer is."""
    found = _read(_directory(place, step))
    if not isinstance(found, Checkpoint):
        hint = "All processes have to see the same files: give an --out on a disk that they share."
        raise RunError(f"{found}.", code="run/unshared-disk", where=str(_directory(place, step)), hint=hint)
    return found


def newest_checkpoint(place: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest that is whole, or None. What is damaged is named through `say` and removed."""
    if place.is_dir():
        sweep(place)
    saved = _saved(place)
    while saved:
        path = saved.pop()
        found = _read(path)
        if isinstance(found, Checkpoint):
            return found
        instead = "trying the one before it" if saved else "none is before it, so the stage begins again"
        say(f"{path} {found}; {instead}.")
        remove(path)
    return None


def _read(path: Path) -> Checkpoint | str:
    """What it holds, or what is wrong with it."""
    fault = _fault(path)
    if fault is not None:
        return fault
    try:
        state = read_json(path / STATE)
        if state.get("format") != FORMAT:
            return "is of another version of truing"
        whole, shards = load_file(path / TENSORS), _shards(path)
        return Checkpoint(state["step"], _Joined(whole, shards) if shards else whole, state)
    except (SafetensorError, RunError, KeyError, TypeError, AttributeError) as error:
        return f"its hashes match but the content is not a checkpoint ({error})"


class _Joined(Mapping[str, Tensor]):
    """Tensors of a file, and others whose parts lie in several files and are put together as they are asked for."""

    def __init__(self, whole: Mapping[str, Tensor], shards: Sequence[Path]) -> None:
        self._whole = whole
        self._axes: dict[str, str] = {}
        self._files: dict[str, list[Any]] = {}
        """Those that have a part of a tensor, in the order of the processes"""
        for shard in shards:
            file: Any = safe_open(shard, framework="pt")
            for name in file.keys():  # noqa: SIM118  # a file is no mapping
                self._files.setdefault(name, []).append(file)
                self._axes.setdefault(name, "0")
            self._axes |= file.metadata() or {}

    def __getitem__(self, name: str) -> Tensor:
        if name in self._axes:
            parts = [file.get_tensor(name) for file in self._files[name]]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=int(self._axes[name]))
        return self._whole[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._whole, *self._axes])

    def __len__(self) -> int:
        return len(self._whole) + len(self._axes)


def _shards(path: Path) -> list[Path]:
    return sorted(path.glob("shard-*.safetensors"))


def _pinned(place: Path) -> Path | None:
    return _directory(place, int(read_json(place / PIN)["step"])) if (place / PIN).is_file() else None


def _directory(place: Path, step: int) -> Path:
    return place / f"step-{step:08d}"


def _saved(place: Path) -> list[Path]:
    """Complete directories, the oldest first."""
    return sorted(place.glob("step-*"))


def _fault(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = read_json(path / MANIFEST)
        if not isinstance(manifest, dict) or not {TENSORS, STATE} <= manifest.keys():
            return "has a manifest that is not one"
        unnamed = sorted({file.name for file in _shards(path)} - manifest.keys())
        if unnamed:
            return f"is damaged: its manifest does not name {', '.join(unnamed)}"
        changed = [name for name, digest in manifest.items() if sha256_file(path / name) != digest]
    except RunError as error:
        return f"is not whole ({error})"
    return f"is damaged: {', '.join(changed)} is not what its manifest says" if changed else None
