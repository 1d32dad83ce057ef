"""What is timed: the project's own code, given a role with real weights, ready to run again and again."""

from collections.abc import Callable, Sequence

import torch

from truing.doctor import passes
from truing.doctor.passes import Shape
from truing.doctor.tally import Tally
from truing.models.roles import Role
from truing.models.sampler import Sampling, sample
from truing.recipe import Compute, Optimiser
from truing.stages.loop import role_learner

Task = Callable[[Role], Callable[[], object]]
"""A role to what is to be timed"""
NEVER = -1
"""A token that is not drawn"""


def learning(shapes: Sequence[Shape], head: bool) -> Task:
    """Forward and backward of a micro-batch."""
    return lambda role: lambda: passes.learn(role, Tally(), shapes, head)


def reading(shape: Shape) -> Task:
    """Forward without gradients."""
    return lambda role: lambda: passes.read(role, Tally(), [shape])


def comparing() -> Task:
    """Figures of two policies at as many positions as have logits at once."""
    return lambda role: lambda: passes.compare(role, Tally())


def stepping(optimiser: Optimiser, compute: Compute) -> Task:
    """An optimiser step, its gradients new."""

    def prepared(role: Role) -> Callable[[], object]:
        learner, weights = role_learner(role, optimiser, 1, compute), role.parameters()

        def step() -> None:
            for weight in weights:
                weight.grad = torch.zeros_like(weight)
            learner.step()

        return step

    return prepared


def sampling(rows: int, prompt: int, new_tokens: int, pack: bool) -> Task:
    """So many responses side by side, to prompts that differ, none of which ends early."""
    settings = Sampling(new_tokens, 1.0, eos=NEVER, pad=0, rows=rows, pack=pack)

    def prepared(role: Role) -> Callable[[], object]:
        tokens = len(role.model.get_input_embeddings().weight)  # type: ignore[arg-type]
        prompts = [[row % tokens, *[0] * (prompt - 1)] for row in range(rows)]
        return lambda: sample(role, prompts, settings, 0, "doctor", range(rows))

    return prepared
