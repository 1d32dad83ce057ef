"""The other processes of a run, by way of `torch.distributed`.

All but gradients, and what a model in parts says while it computes, goes through one exchange, in which every process
hands in a value or an error. So an error reaches the others at whichever verb they are, and nobody waits for a process
that has given up.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import Store
from torch.distributed.tensor import Shard, distribute_tensor
from transformers import PreTrainedModel

from truing.core.errors import InterruptedRunError, TruingError
from truing.processes.connections import UNREACHABLE, ended_when_unreachable, is_of_transport, is_unreachable
from truing.processes.failures import FAILED, GONE, UNTOLD, PeerFailed
from truing.processes.gradients import add_up
from truing.processes.layer_order import LayerOrder
from truing.processes.meeting import be_patient, meet, reach_each_other
from truing.processes.neighbours import Neighbours
from truing.processes.pipeline_parallel import PipelineStage
from truing.processes.place import Copies, Place
from truing.processes.sharding import Shards
from truing.processes.started import LAUNCHER, OWNER, local_rank
from truing.processes.tensor_parallel import Slices
from truing.processes.watchdog import GRACE_SECONDS, PATIENT_SECONDS, Watchdog

T = TypeVar("T")

FIRST = "truing/first to fail"
"""What is in the store of who met an error first, and so tells it"""
SAID = "truing/said first/"
"""What is in the store of who says something first, by what that is"""
LEAVING_SECONDS = 5.0
"""For the library to end its threads where something may be pending for ever"""


@dataclass(frozen=True)
class Failure:
    """That a process has met an error, in place of what it should have handed in."""

    rank: int
    exit_code: int


class Peers:
    """What this process and the others exchange."""

    def __init__(self, place: Place, store: Store) -> None:
        self.place = place
        self._store = store
        self._failed = False
        """Whether an error was exchanged, or somebody is gone: nothing more can be"""
        self._meshes: dict[str, DeviceMesh] = {}
        self._neighbours: Neighbours | None = None
        """In the pipeline, once a model is in it"""
        self._ends: distributed.ProcessGroup | None = None
        """The first and the last stage of it"""
        self._in_parts = False
        """Whether a model is: whoever goes through it hears of nothing else, so errors are left in the store"""
        self._watchdog = Watchdog(GRACE_SECONDS if place.rank == OWNER else PATIENT_SECONDS)

    @classmethod
    def met(cls, rank: int, size: int, tensor: int = 1, pipeline: int = 1) -> Self:
        """Once all processes are there. ProcessesError where they do not reach each other."""
        return cls(Place(rank, size, tensor, pipeline), meet(rank, size))

    def _mesh(self, device: str) -> DeviceMesh:
        """All processes by stages of the pipeline, by rows and by slices of layers."""
        if device not in self._meshes:
            shape = (self.place.pipeline, self.place.data_size, self.place.tensor)
            with self._connecting():
                self._meshes[device] = init_device_mesh(device, shape, mesh_dim_names=("pipeline", "data", "tensor"))
            for own in self._meshes[device].get_all_groups():
                be_patient(own)
        return self._meshes[device]

    def leave(self) -> None:
        """No more exchanges."""
        self._watchdog.close()
        leaving = threading.Thread(target=distributed.destroy_process_group, daemon=True)
        leaving.start()
        leaving.join(LEAVING_SECONDS if self._failed else None)

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
            if self.place.rank != OWNER:
                raise PeerFailed(error.exit_code) from error
            raise
        except Exception as error:
            told = self._tell(self._failure(error))
            if told.rank != self.place.rank:
                raise PeerFailed(told.exit_code) from error
            raise

    def tell_waiting(self, error: Exception) -> None:
        """Tells the others, who wait for this process at an exchange, of an error that it is about to raise."""
        if isinstance(error, InterruptedRunError) or self._failed:
            return
        with suppress(PeerFailed):
            self._exchange(self._failure(error))
        self._failed = True

    def _failure(self, error: Exception) -> Failure:
        return Failure(self.place.rank, error.exit_code if isinstance(error, TruingError) else FAILED)

    def _tell(self, own: Failure) -> Failure:
        """Hands in an error; that of the lowest rank, of those that do."""
        if self._failed:
            return own
        if self._in_parts:
            self._failed = True
            return self._first_to_fail(own) or Failure(OWNER, own.exit_code)  # who held the store has told, and is gone
        try:
            said = self._exchange(own)
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

    def _first_to_fail(self, own: Failure | None = None) -> Failure | None:
        """Of what was left in the store, or is by this process, where nobody was before it; None where nothing is."""
        said = f"{own.rank} {own.exit_code}" if own else ""
        try:
            found = self._store.compare_set(FIRST, "", said).decode()
        except RuntimeError:  # whoever held the store is gone
            return None
        return Failure(*map(int, found.split())) if found else None

    def connect(self, device: torch.device) -> None:
        """Has all devices send each other something."""
        self.all_gather(None)  # nobody has failed, so all come
        with self._connecting():
            reach_each_other(device)

    def first_to_say(self, what: str) -> int:
        """Its rank."""
        with self._waiting():
            return int(self._store.compare_set(SAID + what, "", str(self.place.rank)))

    def _exchange(self, value: Any) -> list[Any]:
        said: list[Any] = [None] * self.place.size
        with self._waiting():
            distributed.all_gather_object(said, value)
        return said

    def keep_part(self, axis: int, weight: nn.Parameter, device: torch.device) -> nn.Parameter:
        """Of a whole weight this process's part, along an axis by which all, or those that share a layer, have one."""
        mesh = self._mesh(device.type)["tensor" if self.place.tensor > 1 else "data"]
        part = distribute_tensor(weight.detach(), mesh, [Shard(axis)], src_data_rank=None)
        return nn.Parameter(part, requires_grad=weight.requires_grad)

    def shard(self, backbone: nn.Module, layers: Sequence[nn.Module], vocabulary: Sequence[nn.Module]) -> Shards:
        """See `Shards`."""
        self._in_parts = True
        with self._connecting():
            return Shards(backbone, layers, vocabulary, self.place.size)

    def cut(self, model: PreTrainedModel, plan: Mapping[str, str]) -> Slices:
        """See `Slices`."""
        self._in_parts = True
        with self._connecting():
            mesh, writes = self._mesh(model.device.type)["tensor"], self.place.data_rank == 0
            return Slices(model, plan, mesh, self.in_step, writes)

    def cut_into_stages(
        self, model: PreTrainedModel, layers: Sequence[nn.Module], order: Callable[[], LayerOrder]
    ) -> PipelineStage:
        """See `PipelineStage`."""
        self._in_parts = True
        if self._neighbours is None:
            mesh = self._mesh(model.device.type)["pipeline"]
            self._neighbours = Neighbours(self.place.rank, self.place.in_stage, mesh)
            with self._connecting():
                self._ends = distributed.new_group(self.place.ranks(Copies.AT_ENDS))
            if self._ends is not distributed.GroupMember.NON_GROUP_MEMBER:
                be_patient(self._ends)
        with self.in_step():
            return PipelineStage(model, layers, order, self._neighbours, writes=self.place.data_rank == 0)

    def gather_parts(self, value: T) -> list[T]:
        """What each process says that keeps another part of a model."""
        said = self.all_gather(value)
        if self.place.pipeline > 1:
            return said[self.place.rank % self.place.in_stage :: self.place.in_stage]
        first = self.place.data_rank * self.place.tensor
        return said if self.place.tensor == 1 else said[first : first + self.place.tensor]

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """In the block, this process goes through a model in parts in step with others, deaf to signals meanwhile.

        Raises:
            PeerFailed: one of them is gone.
        """
        with self._waiting(is_of_transport, PATIENT_SECONDS):  # it may be computing for as long
            yield

    @contextmanager
    def _connecting(self) -> Iterator[None]:
        """In the block, connections are made, in step with the others. PeerFailed where one of them is gone."""
        with self.in_step(), ended_when_unreachable():
            yield

    def add_up_gradients(self, weights: Mapping[Copies, Sequence[nn.Parameter]]) -> None:
        """Sums in place, in one message for each kind. A weight that no process's loss has reached keeps no gradient.

        Args:
            weights: by which processes have the same of them.
        """
        reached = {kind: [weight.grad is not None for weight in own] for kind, own in weights.items()}
        said = self.all_gather(reached)
        summed: dict[Copies, list[nn.Parameter]] = {}
        for kind, own in weights.items():
            known = map(any, zip(*(said[rank][kind] for rank in self.place.ranks(kind)), strict=True)) if own else ()
            summed[kind] = [weight for weight, is_reached in zip(own, known, strict=True) if is_reached]
        if not any(len(self.place.ranks(kind)) > self.place.tensor for kind in weights):
            return
        self.all_gather(None)  # nothing can fail from here to the sums, in which nobody can be told of it
        with self._waiting():
            for kind in Copies:
                shared = summed.get(kind, [])
                if shared and len(self.place.ranks(kind)) > self.place.tensor:
                    add_up(shared, self._group(kind, shared[0].device.type))

    def _group(self, kind: Copies, device: str) -> distributed.ProcessGroup | None:
        """Of these, those that have the same slices."""
        if self.place.pipeline == 1 or kind is Copies.IN_STAGE:
            return self._mesh(device)["data"].get_group()
        return self._ends if kind is Copies.AT_ENDS else None

    @contextmanager
    def _waiting(
        self, tells_of_a_peer: Callable[[RuntimeError], bool] = lambda _: True, at_least: float = 0.0
    ) -> Iterator[None]:
        """In the block, this process waits for the others, deaf to signals. PeerFailed where one of them is gone."""
        if self._failed:
            raise self._gone()
        try:
            with self._watchdog.waiting(at_least):
                yield
        except RuntimeError as error:
            if not tells_of_a_peer(error):
                raise
            self._failed = True
            told = self._first_to_fail() if self._in_parts else None
            if told is not None:
                raise PeerFailed(told.exit_code) from error
            if is_unreachable(error):  # so that each machine may be one whose owner does not hear it
                raise PeerFailed(FAILED, UNREACHABLE if local_rank() == 0 else None) from error
            raise self._gone() from error

    def _gone(self) -> PeerFailed:
        """Of another that is gone. It falls to the owner to say so, unless truing has launched them: it knows which."""
        if self.place.rank != OWNER:
            return PeerFailed(FAILED)
        return PeerFailed(UNTOLD) if LAUNCHER in os.environ else PeerFailed(FAILED, GONE)
