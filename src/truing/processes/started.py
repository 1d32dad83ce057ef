"""How this process was started: alone, or as one of several, by what its environment says."""

import os

OWNER = 0
"""The rank of the process that writes and speaks"""
RANK, SIZE, LOCAL_RANK, ADDRESS = "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"
"""In the environment of every process that `torchrun`, or `truing run --processes`, has started"""
LAUNCHER = "TRUING_LAUNCHER"
"""The number of the process that started them, where it was truing"""
PLACE = (RANK, SIZE, LOCAL_RANK, ADDRESS, "MASTER_PORT", "LOCAL_WORLD_SIZE", "GROUP_RANK", LAUNCHER)
"""All that says which process of which group one is: nothing for the processes of somebody's functions"""
LIBRARY_LEVEL = "TORCH_CPP_LOG_LEVEL"
"""In the environment, read as torch is imported: what its library says by itself on standard error"""


def is_expected() -> bool:
    """Whether this process was started as one of several: a scheduler alone may set the one or other variable."""
    numbers = [os.environ.get(name, "") for name in (RANK, SIZE)]
    return ADDRESS in os.environ and all(map(str.isdigit, numbers)) and int(numbers[0]) < int(numbers[1]) > 1


def is_first() -> bool:
    """Whether this process is the owner, or will be once it has met the others."""
    return not is_expected() or int(os.environ[RANK]) == OWNER


def local_rank() -> int:
    """The number of this process among those on its machine."""
    return int(os.environ.get(LOCAL_RANK, "0")) if is_expected() else 0


def own_gpu(seen: int) -> int:
    """The number of the GPU that this process takes of so many; a scheduler may show each process one, another."""
    return local_rank() if seen > 1 else 0
