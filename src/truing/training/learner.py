"""The one training path: every stage hands a batch and a loss to `Learner.forward_backward`, and nothing else
calls `.backward()` or an optimiser. Micro-batches are planned by tokens and weighted by what they count, so that
their size never changes the result.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NoReturn, TypeVar

import torch
from torch import Tensor, nn

from truing.config.sections import Optimiser
from truing.core.batches import Batch
from truing.core.errors import RunError, TrainingError
from truing.core.heap import keep_all_freed_blocks
from truing.core.metrics import reduction
from truing.models.roles import MicroBatch, Role
from truing.processes import group
from truing.processes.place import Copies
from truing.processes.started import is_expected
from truing.runs.checkpoints import Part
from truing.training.stepped import Stepped, stepped_weights

Micro = TypeVar("Micro")
Stats = dict[str, Tensor]
LossFn = Callable[[Micro], tuple[Tensor, Stats]]
"""A micro-batch to (loss averaged over its `count`, metrics averaged likewise)"""

FUSED = {"cpu", "cuda"}
"""Devices on which AdamW reads and writes each of its numbers once a step"""
ROWS_NAMED = 3
"""Rows that an error names"""


@dataclass(frozen=True)
class Trained:
    """A role that learns, and its peak learning rate."""

    name: str
    role: Role
    learning_rate: float


class Learner:
    """Roles that learn together: their parameters, one optimiser over all of them, and its schedule."""

    def __init__(
        self, trained: Sequence[Trained], optimiser: Optimiser, steps: int, token_budget: int, apart: bool = False
    ) -> None:
        """Args:
        trained: the roles; the gradients of all of them are clipped as one.
        optimiser: how they learn.
        steps: optimiser steps of the whole stage, for the schedule.
        token_budget: tokens in one forward and backward.
        apart: whether each role's gradient is clipped by itself, so that each learns as it would alone.
        """
        self._rates = [one.learning_rate for one in trained]
        groups = [stepped_weights(one.name, one.role) for one in trained]
        self._stepped = {path: weight for own in groups for path, weight in own.items()}
        self._clipped = [[*own.values()] for own in groups] if apart else [[*self._stepped.values()]]
        self._is_in_parts = any(one.role.is_in_parts for one in trained)
        self._whole = [weight.part for weight in self._stepped.values() if not weight.is_part]
        to_add_up = [weight for weight in self._stepped.values() if not weight.is_added_up]
        self._to_add_up = {kind: [one.part for one in to_add_up if one.copies is kind] for kind in Copies}
        self._role = trained[0].role
        self._device = self._role.model.device
        if self._device.type == "cpu" and not is_expected() and all(one.role.adapter is None for one in trained):
            keep_all_freed_blocks()
        self._optimiser = torch.optim.AdamW(
            [
                {"params": [weight.part for weight in own.values()], "lr": rate}
                for own, rate in zip(groups, self._rates, strict=True)
            ],
            eps=optimiser.adam_eps,
            weight_decay=optimiser.weight_decay,
            fused=self._device.type in FUSED,
        )
        self._settings = optimiser
        self._steps = steps
        self._done = 0
        self.steps_begun = 0
        """By this object, finished or not: as long as it stays the same, no weight and no moment has changed"""
        self._token_budget = token_budget

    @property
    def learning_rate(self) -> float:
        """Of the first role, for the next step."""
        return self._rates[0] * learning_rate_factor(self._done, self._steps, self._settings)

    def forward_backward(self, batch: Batch[Micro], loss_fn: LossFn[Micro]) -> dict[str, float]:
        """Adds the gradient of the batch's mean loss; returns the metrics of `loss_fn` over the batch, and `loss`.

        Raises:
            TrainingError: the loss is not finite; names the rows that make it so.
        """
        counted: list[tuple[MicroBatch, float]] = []
        measured: list[Stats] = []
        under_way: deque[Callable[[], None]] = deque()
        for micro in self._role.micro_batches(batch.token_counts, self._token_budget):
            part = batch.rows(micro.rows)
            loss, stats = loss_fn(part.to(self._device))
            weight = 0.0 if micro.counts_elsewhere else part.count / batch.count
            under_way.append(self._role.backward_of(loss * weight))
            if len(under_way) > self._role.ahead:
                under_way.popleft()()
            if not micro.counts_elsewhere:
                counted.append((micro, weight))
                measured.append({name: value.detach() for name, value in {"loss": loss, **stats}.items()})
        for backward in under_way:
            backward()
        with self._role.in_step():  # on a GPU, it is here that this process waits for others
            numbers = _read(measured)
        metrics: dict[str, float] = {}
        for (micro, weight), values in zip(counted, numbers, strict=True):
            if self._role.parts is None and not math.isfinite(values["loss"]):
                self._refuse_loss(values["loss"], batch.rows(micro.rows), loss_fn)
            for name, value in values.items():
                metrics[name] = _reduced(name, metrics.get(name), value, weight)
        found = _of_all(group.gather_shares(metrics))
        if not math.isfinite(found["loss"]):  # so far in a model in parts alone: no process can try its rows by itself
            self._refuse(f"the loss became {found['loss']}")
        return found

    def step(self) -> float:
        """Clips the joint gradient, steps the optimiser and the schedule; returns the gradient's norm before clipping.

        Where gradients are clipped apart, that is the mean of their norms.

        Raises:
            TrainingError: the gradient is not finite, or the weights no longer are.
        """
        for weight in self._stepped.values():
            weight.take_gradient()
        group.add_up_gradients(self._to_add_up)
        before_clipping = fmean([self._clip(weights) for weights in self._clipped])
        if not math.isfinite(before_clipping):
            self._refuse(f"the gradient's norm became {before_clipping}")
        factor = learning_rate_factor(self._done, self._steps, self._settings)
        for settings, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            settings["lr"] = rate * factor
        self.steps_begun += 1
        self._optimiser.step()
        if not bool(self._norm(self._stepped.values(), lambda part: part.detach()).isfinite()):
            self._refuse("the step left weights that are not finite")
        self._optimiser.zero_grad(set_to_none=True)
        self._done += 1
        return before_clipping

    def _clip(self, weights: Sequence[Stepped]) -> float:
        """Scales their gradient down where it is too long; returns how long it was."""
        norm = self._norm(weights, lambda part: part.grad)
        nn.utils.clip_grads_with_norm_([one.part for one in weights], self._settings.max_grad_norm, norm)
        return norm.item()

    def _norm(self, weights: Iterable[Stepped], of: Callable[[nn.Parameter], Tensor | None]) -> Tensor:
        """As of one: all that is there `of` each weight's part, with the parts of other processes where it has any."""
        weights = [*weights]
        own_whole = (one.part for one in weights if not one.is_part)
        whole = nn.utils.get_total_norm([found for part in own_whole if (found := of(part)) is not None])
        if not self._is_in_parts:
            return whole
        counted = (one.part for one in weights if one.is_part and one.counts)
        own = nn.utils.get_total_norm([found for part in counted if (found := of(part)) is not None])
        return torch.tensor(math.hypot(float(whole), *group.gather_parts(float(own))))

    def train_step(self, batch: Batch[Micro], *losses: LossFn[Micro]) -> dict[str, float]:
        """One optimiser step on one batch: the means of what its losses measure, `grad_norm` and `learning_rate`."""
        rate = self.learning_rate
        found = [self.forward_backward(batch, loss) for loss in losses]
        metrics = {name: fmean([one[name] for one in found]) for name in found[0]}
        return metrics | {"grad_norm": self.step(), "learning_rate": rate}

    def checksum(self) -> int:
        """Of the bits of whole weights: the same in every process, or they no longer learn the same model."""
        return _checksum(self._whole)

    def differs_between_processes(self) -> bool:
        """Whether weights, or parts of them, that several processes have and step alike are not the same to the bit."""
        if group.size() == 1:
            return False
        whole = group.all_gather(self.checksum())
        copied = ((path, one) for path, one in self._stepped.items() if one.is_part and not one.is_added_up)
        parts = group.all_gather({f"{path} {group.tensor_rank()}": _checksum([one.part]) for path, one in copied})
        known = {name: number for found in parts for name, number in found.items()}
        return len(set(whole)) > 1 or any(found.items() - known.items() for found in parts)

    @property
    def is_in_parts(self) -> bool:
        """Whether each process steps a part of some weights, if of any."""
        return self._is_in_parts

    def tensors(self) -> dict[str, Tensor]:
        """Copies of all that learning has changed, by parameter path: weights, AdamW's moments, the count of steps.

        Of those in parts, `own_parts` has them.
        """
        done = {"steps": torch.tensor(self._done)}
        return done | {name: _copy(value) for name, weight, value in self._learnt() if weight.axis_of(value) is None}

    def own_parts(self) -> dict[str, Part]:
        """The same of weights in parts, and of their moments: what this process is to save."""
        wanted = self._role.parts is not None and self._role.parts.writes
        own = ((name, value, one.axis_of(value)) for name, one, value in self._learnt() if one.counts)
        return {name: Part(_copy(value), axis) for name, value, axis in own if axis is not None} if wanted else {}

    def _learnt(self) -> Iterator[tuple[str, Stepped, Tensor]]:
        for path, weight in self._stepped.items():
            tensors = {"weights": weight.part.detach(), **self._optimiser.state[weight.part]}
            yield from ((f"{name}/{path}", weight, value) for name, value in tensors.items())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `tensors` gave, and `own_parts` in all processes, put together.

        Raises:
            RunError: they are those of other weights.
        """
        for path, stepped in self._stepped.items():
            saved = tensors.get(f"weights/{path}")
            if saved is None or saved.shape != stepped.weight.shape:
                what = f"the checkpoint lacks {path}: it is another model's."
                raise RunError(what, code="run/checkpoint-lacks", hint="Give another --out.")
        for path, stepped in self._stepped.items():
            part = stepped.part
            with torch.no_grad():
                part.copy_(stepped.own_part_of(tensors[f"weights/{path}"]))
            names = ("step", "exp_avg", "exp_avg_sq")
            found = {name: tensors[f"{name}/{path}"] for name in names if f"{name}/{path}" in tensors}
            if 0 < len(found) < len(names):  # a weight that no loss has reached has none at all
                hint = "Give another --out."
                raise RunError(f"the checkpoint lacks moments of {path}.", code="run/checkpoint-lacks", hint=hint)
            moments = {name: stepped.own_part_of(value).to(part.device, copy=True) for name, value in found.items()}
            self._optimiser.state[part] = moments
        self._done = int(tensors["steps"])

    @torch.no_grad()
    def _refuse_loss(self, value: float, batch: Batch[Micro], loss_fn: LossFn[Micro]) -> NoReturn:
        """Finds the rows that make a loss not finite, each on its own."""
        single = [batch.rows([row]) for row in range(len(batch))]
        broken = [row for row, one in enumerate(single) if not bool(loss_fn(one.to(self._device))[0].isfinite())]
        names = [batch.names[row] if batch.names else f"row {row + 1} of {len(batch)}" for row in broken[:ROWS_NAMED]]
        self._refuse(f"the loss became {value} on {', '.join(names) if names else 'no single row of its batch'}")

    def _refuse(self, what: str) -> NoReturn:
        hint = "Lower the learning rate; look at the rows and the last metrics. Nothing of this step was saved."
        raise TrainingError(f"{what}.", code="training/not-finite", where=f"optimiser step {self._done + 1}", hint=hint)


def learning_rate_factor(step: int, steps: int, optimiser: Optimiser) -> float:
    """Share of the peak learning rate at a step (from 0): a linear rise, then the schedule's fall towards 0."""
    rise = round(optimiser.warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    progress = (step - rise) / max(1, steps - rise)
    if optimiser.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1 - progress if optimiser.schedule == "linear" else 1.0


def _checksum(weights: Iterable[nn.Parameter]) -> int:
    return sum(int(weight.detach().view(torch.int32).sum(dtype=torch.int64)) for weight in weights)


def _copy(tensor: Tensor) -> Tensor:
    """On the CPU, in memory of its own."""
    return tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)


def _read(measured: Sequence[Stats]) -> list[dict[str, float]]:
    """The numbers of every micro-batch, read at once: a device is waited for once, not once a number."""
    values = [value.double() for stats in measured for value in stats.values()]
    read = iter(torch.stack(values).tolist() if values else ())
    return [{name: next(read) for name in stats} for stats in measured]


def _reduced(name: str, so_far: float | None, value: float, weight: float) -> float:
    if reduction(name) == "max":
        return value if so_far is None else max(so_far, value)
    return (so_far or 0.0) + weight * value


def _of_all(metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    """What the processes found, each on its part of the batch, as that of the whole; one may have had no part."""
    whole, *others = metrics
    for part in others:
        for name, value in part.items():
            whole[name] = _reduced(name, whole.get(name), value, 1.0)
    return whole
