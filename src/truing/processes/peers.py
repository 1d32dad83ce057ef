"""The other processes of a run, by way of `torch.distributed`.

All but gradients goes through one exchange, in which every process hands in a value or an error. So an error reaches
the others at whichever verb they are, and nobody waits for a process that has given up.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, distributed, nn

from truing.core.errors import InterruptedRunError, TruingError
from truing.processes.group import OWNER, PeerFailed, local_rank
from truing.processes.guard import GRACE_SECONDS, PATIENT_SECONDS, Guard
from truing.processes.sharding import Shards, own_part, own_rows, with_all_rows

T = TypeVar("T")

PATIENCE = timedelta(hours=1)
"""For a process that is alive: the owner may read rows or save while the others wait. One that is gone is noticed at
once."""
TELLING = timedelta(seconds=15)
"""For the other processes to meet an error too, where one has met it: then it is told once"""
FAILED = 1
"""The exit code of an error that is no TruingError, and of a process that is gone"""


@dataclass(frozen=True)
class Failure:
    """That a process has met an error, in place of what it should have handed in."""

    rank: int
    exit_code: int


class Peers:
    """This process's place among several, and what they exchange."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        self._failed = False
        """Whether an error was exchanged, or somebody is gone: nothing more can be"""
        self._telling: distributed.ProcessGroup | None = None
        """Where errors are told once a model is sharded: whoever goes through it hears of nothing else"""
        self._guard = Guard(GRACE_SECONDS if rank == OWNER else PATIENT_SECONDS)

    @classmethod
    def met(cls, rank: int, size: int) -> Self:
        """Once all processes are there."""
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank())
            backend = "cpu:gloo,cuda:nccl"
        distributed.init_process_group(backend, rank=rank, world_size=size, timeout=PATIENCE)
        return cls(rank, size)

    def leave(self) -> None:
        """No more exchanges."""
        self._guard.close()
        if not self._failed:
            distributed.destroy_process_group()

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """An error in the block ends all processes; of several at once, the process of the lowest rank tells its own.

        One that was asked to end leaves at once: it may do so in the midst of what the others are about to exchange,
        and they notice that it is gone.

        Raises:
            PeerFailed: it is told elsewhere.
        """
        try:
            yield
        except InterruptedRunError as error:
            self._failed = True
            if self.rank != OWNER:
                raise PeerFailed(error.exit_code) from error
            raise
        except Exception as error:
            told = self._tell(Failure(self.rank, error.exit_code if isinstance(error, TruingError) else FAILED))
            if told.rank != self.rank:
                raise PeerFailed(told.exit_code) from error
            raise

    def _tell(self, own: Failure) -> Failure:
        """Hands in an error; that of the lowest rank, of those that do."""
        if self._failed:
            return own
        try:
            said = self._exchange(own, self._telling)
        except PeerFailed:
            return own
        self._failed = True
        return next(one for one in said if isinstance(one, Failure))

    def all_gather(self, value: T) -> list[T]:
        """What each process hands in, by its rank. PeerFailed where one hands in an error."""
        said = self._exchange(value)
        failures = [one for one in said if isinstance(one, Failure)]
        if failures:
            self._failed = True
            raise PeerFailed(failures[0].exit_code)
        return said

    def _exchange(self, value: Any, where: "distributed.ProcessGroup | None" = None) -> list[Any]:
        said: list[Any] = [None] * self.size
        with self._waiting():
            distributed.all_gather_object(said, value, where)
        return said

    def shard(self, backbone: nn.Module, layers: Sequence[nn.Module], vocabulary: Sequence[nn.Module]) -> Shards:
        """See `Shards`."""
        self._telling = self._telling or distributed.new_group(backend="gloo", timeout=TELLING)
        return Shards(backbone, layers, vocabulary, self.size)

    @contextmanager
    def together(self) -> Iterator[None]:
        """In the block, this process goes through a sharded model with the others, deaf to signals meanwhile.

        Raises:
            PeerFailed: one of them is gone.
        """
        with self._waiting(_is_of_transport):
            yield

    own_part = staticmethod(own_part)
    with_all_rows = staticmethod(with_all_rows)

    def own_rows(self, weight: nn.Parameter, whole: Tensor) -> Tensor:
        """See `own_rows`."""
        return own_rows(weight, whole, self.rank)

    @torch.no_grad()
    def add_up_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Sums in place, in one message. A weight that no process's loss has reached keeps no gradient at all."""
        reached = zip(*self.all_gather([weight.grad is not None for weight in weights]), strict=True)
        summed = [weight for weight, known in zip(weights, reached, strict=True) if any(known)]
        if not summed:
            return
        for weight in summed:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        gradients = [weight.grad for weight in summed if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self.all_gather(None)  # nothing can fail from here to the sum, in which nobody can be told of it
        with self._waiting():
            distributed.all_reduce(flat)
        parts = torch.split(flat, [one.numel() for one in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    @contextmanager
    def _waiting(self, tells_of_a_peer: Callable[[RuntimeError], bool] = lambda _: True) -> Iterator[None]:
        """In the block, this process waits for the others, deaf to signals. PeerFailed where one of them is gone."""
        if self._failed:
            raise PeerFailed(FAILED, untold=self.rank == OWNER)
        try:
            with self._guard.waiting():
                yield
        except RuntimeError as error:
            if not tells_of_a_peer(error):
                raise
            self._failed = True
            raise PeerFailed(FAILED, untold=self.rank == OWNER) from error


def _is_of_transport(error: RuntimeError) -> bool:
    """Whether it comes from between the processes, not from what one of them computes."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)
