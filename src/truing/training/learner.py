"""The one training path: every stage hands a batch and a loss to `Learner.forward_backward`, and nothing else
calls `.backward()` or an optimiser. Micro-batches are planned by tokens and weighted by what they count, so that
their size never changes the result.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn, TypeVar

import torch
from torch import Tensor, nn

from truing.config.sections import Compute, Optimiser
from truing.core.batches import Batch
from truing.core.errors import RunError, TrainingError
from truing.data.batching import plan_by_tokens
from truing.models.roles import Role

AnyBatch = TypeVar("AnyBatch", bound=Batch)
Stats = dict[str, Tensor]
LossFn = Callable[[AnyBatch], tuple[Tensor, Stats]]
"""A micro-batch to (loss averaged over its `count`, figures averaged likewise)."""

FUSED = {"cpu", "cuda"}
"""Devices on which AdamW reads and writes each of its numbers once a step"""

LARGEST = {"ratio_max_deviation"}
"""Figures of which a batch reports the largest of its parts, not the average."""

NAMED = 3
"""Rows that an error names"""


class Learner:
    """Parameters, their optimiser and its schedule."""

    def __init__(
        self,
        groups: Iterable[tuple[list[nn.Parameter], float]],
        optimiser: Optimiser,
        steps: int,
        token_budget: int,
        device: torch.device,
        plan: Callable[[Sequence[int], int], list[list[int]]] = plan_by_tokens,
    ) -> None:
        """Args:
        groups: (parameters, peak learning rate) of each role that learns.
        steps: optimiser steps of the whole stage, for the schedule.
        token_budget: tokens in one forward and backward.
        plan: tokens of each row and a budget to the rows of each micro-batch.
        """
        self._groups = list(groups)
        self._parameters = [weight for weights, _ in self._groups for weight in weights]
        self._optimiser = torch.optim.AdamW(
            [{"params": weights, "lr": rate} for weights, rate in self._groups],
            eps=optimiser.adam_eps,
            weight_decay=optimiser.weight_decay,
            fused=device.type in FUSED,
        )
        self._settings = optimiser
        self._max_grad_norm = optimiser.max_grad_norm
        self._steps = steps
        self._done = 0
        self.steps_begun = 0
        """By this object, finished or not: as long as it stays the same, no weight and no moment has changed"""
        self._token_budget = token_budget
        self._device = device
        self._plan = plan

    @property
    def learning_rate(self) -> float:
        """Of the first group, for the next step."""
        return self._groups[0][1] * learning_rate_factor(self._done, self._steps, self._settings)

    def forward_backward(
        self, batch: AnyBatch, loss_fn: LossFn[AnyBatch], names: Sequence[str] = ()
    ) -> dict[str, float]:
        """Adds the gradient of the batch's mean loss; returns the mean of `loss_fn`'s figures, and `loss` itself.

        `names` say which sample each row of the batch is, for the error.

        Raises:
            TrainingError: the loss is not finite; names the rows that make it so.
        """
        figures: dict[str, float] = {}
        for index in self._plan(batch.token_counts, self._token_budget):
            micro = batch.rows(index).to(self._device)
            loss, stats = loss_fn(micro)
            if not bool(loss.isfinite()):
                self._refuse_loss(float(loss.detach()), micro, loss_fn, [names[i] for i in index] if names else ())
            share = micro.count / batch.count
            (loss * share).backward()  # type: ignore[no-untyped-call]
            for name, value in {"loss": loss, **stats}.items():
                figures[name] = _combined(name, figures.get(name), float(value.detach()), share)
        return figures

    def step(self) -> float:
        """Clips the joint gradient, steps the optimiser and the schedule; returns the gradient's norm before clipping.

        Raises:
            TrainingError: the gradient is not finite, or the weights no longer are.
        """
        norm = float(nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm))
        if not math.isfinite(norm):
            self._refuse(f"the gradient's norm became {norm}")
        factor = learning_rate_factor(self._done, self._steps, self._settings)
        for group, (_, rate) in zip(self._optimiser.param_groups, self._groups, strict=True):
            group["lr"] = rate * factor
        self.steps_begun += 1
        self._optimiser.step()
        if not bool(nn.utils.get_total_norm(self._parameters).isfinite()):
            self._refuse("the step left weights that are not finite")
        self._optimiser.zero_grad(set_to_none=True)
        self._done += 1
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Copies of all that learning has changed: weights, moments of the optimiser, and the count of its steps."""
        changed = {"steps": torch.tensor(self._done)}
        for index, weight in enumerate(self._parameters):
            changed[f"weights.{index}"] = weight.detach()
            changed |= {f"moments.{index}.{name}": value for name, value in self._optimiser.state[weight].items()}
        return {name: value.cpu().clone().contiguous() for name, value in changed.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `tensors` gave.

        Raises:
            RunError: they are those of other weights.
        """
        weights = [tensors.get(f"weights.{index}") for index in range(len(self._parameters))]
        if any(old is None or old.shape != new.shape for old, new in zip(weights, self._parameters, strict=True)):
            raise RunError("the checkpoint has the weights of another model.", hint="Give another --out.")
        for index, weight in enumerate(self._parameters):
            with torch.no_grad():
                weight.copy_(tensors[f"weights.{index}"])
            moments = {name: tensors.get(f"moments.{index}.{name}") for name in ("step", "exp_avg", "exp_avg_sq")}
            found = {name: value for name, value in moments.items() if value is not None}
            if 0 < len(found) < len(moments):  # a weight that no loss has reached has none at all
                raise RunError("the checkpoint lacks moments of the optimiser.", hint="Give another --out.")
            self._optimiser.state[weight] = {name: value.to(weight.device).clone() for name, value in found.items()}
        self._done = int(tensors["steps"])

    def train_step(self, batch: AnyBatch, loss_fn: LossFn[AnyBatch], names: Sequence[str] = ()) -> dict[str, float]:
        """One optimiser step on one batch: the figures of `forward_backward`, `grad_norm`, and the `learning_rate`."""
        rate = self.learning_rate
        figures = self.forward_backward(batch, loss_fn, names)
        return figures | {"grad_norm": self.step(), "learning_rate": rate}

    @torch.no_grad()
    def _refuse_loss(self, value: float, batch: AnyBatch, loss_fn: LossFn[AnyBatch], names: Sequence[str]) -> NoReturn:
        """Finds the rows that make a loss not finite, each on its own."""
        guilty = [row for row in range(len(batch)) if not bool(loss_fn(batch.rows([row]))[0].isfinite())]
        told = [names[row] if names else f"row {row + 1} of {len(batch)}" for row in guilty[:NAMED]]
        self._refuse(f"the loss became {value} on {', '.join(told) if told else 'no single row of its batch'}")

    def _refuse(self, what: str) -> NoReturn:
        raise TrainingError(
            f"{what}.",
            where=f"optimiser step {self._done + 1}",
            hint="Lower the learning rate; look at the rows and the last metrics. Nothing of this step was saved.",
        )


def role_learner(role: Role, optimiser: Optimiser, steps: int, compute: Compute) -> Learner:
    """A learner of one role alone."""
    groups = [(role.parameters(), optimiser.learning_rate)]
    return Learner(groups, optimiser, steps, compute.learn_tokens, role.model.device, role.micro_batches)


def learning_rate_factor(step: int, steps: int, optimiser: Optimiser) -> float:
    """Share of the peak learning rate at a step (from 0): a linear rise, then the schedule's fall towards 0."""
    rise = round(optimiser.warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    progress = (step - rise) / max(1, steps - rise)
    if optimiser.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1 - progress if optimiser.schedule == "linear" else 1.0


def _combined(name: str, so_far: float | None, value: float, share: float) -> float:
    if name in LARGEST:
        return value if so_far is None else max(so_far, value)
    return (so_far or 0.0) + share * value
