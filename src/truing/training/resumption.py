"""The checkpoint that a stage goes on from, or back to: found by one process, read by all, and what it has in it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from truing.processes import group
from truing.runs.checkpoints import Checkpoint, read_checkpoint

MEMORY = "memory/"
"""How the names of tensors in a checkpoint begin that a stage asked to be remembered"""


def found_on_owner(place: Path, look: Callable[[], Checkpoint | None]) -> Checkpoint | None:
    """A checkpoint: the owner looks for it, and takes away what stands in its way; the others read what it found."""
    found = group.on_owner(look)
    step = group.broadcast(lambda: None if found is None else found.step)
    return found if found or step is None else read_checkpoint(place, step)


def named_to_remember(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that a stage asked to be remembered, by their names in a checkpoint."""
    return {f"{MEMORY}{name}": tensor for name, tensor in tensors.items()}


def remembered(found: Checkpoint) -> dict[str, Tensor]:
    """The same again, by the names that the stage gave them."""
    return {name.removeprefix(MEMORY): found.tensors[name] for name in found.tensors if name.startswith(MEMORY)}


def cursor(found: Checkpoint | None, name: str) -> int:
    """Where a log ended at that step; 0 where there is no checkpoint."""
    return int(found.state["cursors"][name]) if found else 0
