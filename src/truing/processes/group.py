"""The processes of a run, and how they speak to each other: the verbs that the rest of the house knows.

In a world of one, which is most of them, each verb gives back what it is given and `torch.distributed` is never
imported. In a world of several, all processes go through the same code, on the same weights or each on its part of
them. Work that can be split is shared out and gathered again, gradients are added up, one of them owns the run's
directory, and an error that one of them meets ends all of them.

So every process has to reach the same verbs in the same order: what decides whether a verb is reached must be known to
all, such as a step's number, or be asked of the owner, such as the time.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from truing.processes.place import Copies
from truing.processes.started import LAUNCHER, LIBRARY_LEVEL, OWNER, RANK, SIZE, is_expected

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

    from truing.processes.layer_order import LayerOrder
    from truing.processes.parts import Parts
    from truing.processes.peers import Peers

T = TypeVar("T")

_peers: "Peers | None" = None
"""The other processes; None in a world of one"""


@contextmanager
def joined(tensor: int = 1, pipeline: int = 1) -> Iterator[None]:
    """Inside, this process is one of those that were started with it; an error that one meets ends all of them.

    Args:
        tensor: how many neighbours share each layer of a model, and so read the same rows.
        pipeline: into how many stages its layers are cut, which read the same rows too.

    Raises:
        PeerFailed: it was another's.
    """
    global _peers
    if not is_expected():
        with _under_a_launcher():
            yield
        return
    os.environ.setdefault(LIBRARY_LEVEL, "ERROR")  # of a process that is gone it would warn with its own stack
    from truing.processes.peers import Peers

    _peers = peers = Peers.met(int(os.environ[RANK]), int(os.environ[SIZE]), tensor, pipeline)
    try:
        with peers.agreed():
            yield
    finally:
        _peers = None
        peers.leave()


@contextmanager
def _under_a_launcher() -> Iterator[None]:
    """Inside, a process that truing has started, if not with others, is asked to end once its launcher is gone."""
    if LAUNCHER not in os.environ:
        yield
        return
    from truing.processes.watchdog import GRACE_SECONDS, Watchdog

    watchdog = Watchdog(GRACE_SECONDS)
    try:
        yield
    finally:
        watchdog.close()


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process works as if there were no others: they wait, or do the same."""
    global _peers
    before, _peers = _peers, None
    try:
        yield
    finally:
        _peers = before


def size() -> int:
    """How many processes there are."""
    return 1 if _peers is None else _peers.place.size


def tensor_size() -> int:
    """How many of them share each layer of a model."""
    return 1 if _peers is None else _peers.place.tensor


def pipeline_size() -> int:
    """Into how many stages, one process after the other, the layers of a model are cut."""
    return 1 if _peers is None else _peers.place.pipeline


def tensor_rank() -> int:
    """Which slice of a layer this process has."""
    return 0 if _peers is None else _peers.place.tensor_rank


def pipeline_rank() -> int:
    """Which stage of the layers this process has."""
    return 0 if _peers is None else _peers.place.pipeline_rank


def rank() -> int:
    """The number of this process among all."""
    return OWNER if _peers is None else _peers.place.rank


def is_owner() -> bool:
    """Whether this process writes the run's directory, its logs and trackers, and speaks to the terminal."""
    return _peers is None or _peers.place.rank == OWNER


def connect(device: "torch.device") -> None:
    """Has the GPUs of all processes reach each other, for which all come here; a ProcessesError where they do not."""
    if _peers is not None and device.type != "cpu":
        _peers.connect(device)


def first_to_say(what: str) -> int:
    """The rank of the process that says this first, of those that do; nobody waits for another."""
    return rank() if _peers is None else _peers.first_to_say(what)


def share(work: Sequence[T]) -> Sequence[T]:
    """This process's part of work that each can do by itself, each piece about as long as its neighbours."""
    return work if _peers is None else work[_peers.place.work_rank :: _peers.place.work_size]


def share_by_cost(costs: Sequence[int]) -> list[int]:
    """The places of this process's part of work that costs so much a piece: the dearest first, to whoever has least.

    The work is that of a model that may be cut into stages, all of which have the same part.
    """
    if _peers is None:
        return list(range(len(costs)))
    loads = [0] * _peers.place.data_size
    parts: list[list[int]] = [[] for _ in loads]
    for place in sorted(range(len(costs)), key=lambda place: -costs[place]):
        least = loads.index(min(loads))
        loads[least] += costs[place]
        parts[least].append(place)
    return sorted(parts[_peers.place.data_rank])


def gather(results: Mapping[int, T]) -> dict[int, T]:
    """The results of every process, by the place in the whole work."""
    return {place: result for part in gather_shares(dict(results)) for place, result in part.items()}


def gather_shares(value: T) -> list[T]:
    """What is said of each share of work, in their order: by one of the processes that have the same share."""
    return [value] if _peers is None else _peers.all_gather(value)[_peers.place.tensor_rank :: _peers.place.tensor]


def gather_parts(value: T) -> list[T]:
    """What is said of each part of a model that is kept in parts, in their order."""
    return [value] if _peers is None else _peers.gather_parts(value)


def all_gather(value: T) -> list[T]:
    """What each process says, by its rank."""
    return [value] if _peers is None else _peers.all_gather(value)


def add_up_gradients(weights: Mapping[Copies, Sequence["nn.Parameter"]]) -> None:
    """Each process has the gradients of its share of a batch; afterwards all that have the same weights have the sum.

    Args:
        weights: by which processes have the same of them. All know of the same kinds.
    """
    if _peers is not None:
        _peers.add_up_gradients(weights)


def broadcast(answer: Callable[[], T]) -> T:
    """What the owner answers, alone, or the error it meets: asked once, known to all."""
    if _peers is None:
        return answer()
    return _peers.all_gather(_alone(answer) if is_owner() else None)[OWNER]  # type: ignore[return-value]


def on_owner(work: Callable[[], T]) -> T | None:
    """Has the owner do something, alone, while the others wait; what came of it, or None in another process."""
    if _peers is None:
        return work()
    done = _alone(work) if is_owner() else None
    _peers.all_gather(None)
    return done


def keep_part(axis: int, weight: "nn.Parameter", device: "torch.device") -> "nn.Parameter":
    """Of a whole weight this process's part along an axis, on a device; `shard` and `cut` take it as a whole one."""
    return weight if _peers is None else _peers.keep_part(axis, weight, device)


def shard(backbone: "nn.Module", layers: Sequence["nn.Module"], vocabulary: Sequence["nn.Module"]) -> "Parts | None":
    """Has each process keep its rows of every weight of a model; None in a world of one, which keeps all.

    See `sharding.Shards`. From here on all processes go through the model in step, but for while it is gathered.
    """
    return None if _peers is None else _peers.shard(backbone, layers, vocabulary)


def cut(model: "PreTrainedModel", plan: Mapping[str, str]) -> "Parts | None":
    """Has each process keep its slices of a model's layers, and compute these; None in a world of one.

    See `tensor_parallel.Slices`. From here on those that share the layers go through the model in step.
    """
    return None if _peers is None else _peers.cut(model, plan)


def cut_into_stages(
    model: "PreTrainedModel", layers: Sequence["nn.Module"], order: Callable[[], "LayerOrder"]
) -> "Parts | None":
    """Has each process keep some of a model's layers, and compute these; None in a world of one.

    See `pipeline_parallel.PipelineStage`. From here on those that have the others read the same rows one after the
    other, but for while the model is gathered.
    """
    return None if _peers is None else _peers.cut_into_stages(model, layers, order)


def in_step() -> AbstractContextManager[None]:
    """Inside, this process goes through a model in parts in step with the others, and notices who is gone."""
    return nullcontext() if _peers is None else _peers.in_step()


def _alone(work: Callable[[], T]) -> T:
    """What the owner does while the others wait, who hear at once of an error."""
    peers = _peers
    try:
        with alone():
            return work()
    except Exception as error:
        if peers is not None:
            peers.tell_waiting(error)
        raise
