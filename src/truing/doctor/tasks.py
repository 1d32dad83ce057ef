"""What is timed: the project's own code, given a role with real weights, ready to run again and again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch

from truing.config.sections import Compute, Optimiser
from truing.doctor import passes
from truing.doctor.passes import Shape
from truing.doctor.tally import Tally
from truing.kernels.backend import DecodeStep
from truing.models.roles import Role
from truing.rollout.decoding import Decoder
from truing.rollout.local import draw_tokens
from truing.training.learner import role_learner

Action = Callable[[], object]
"""What is to be timed"""
Task = Callable[[Role], AbstractContextManager[Action]]
"""A role to an action that is ready inside a block"""
TIMES = 32
"""How often an action can be done"""


def learning(shapes: Sequence[Shape], head: bool) -> Task:
    """Forward and backward of a micro-batch."""
    return lambda role: nullcontext(lambda: passes.learn(role, Tally(), shapes, head))


def reading(shape: Shape) -> Task:
    """Forward without gradients."""
    return lambda role: nullcontext(lambda: passes.read(role, Tally(), [shape]))


def comparing() -> Task:
    """Figures of two policies at as many positions as have logits at once."""
    return lambda role: nullcontext(lambda: passes.compare(role, Tally()))


def stepping(optimiser: Optimiser, compute: Compute) -> Task:
    """An optimiser step, its gradients new."""

    def prepared(role: Role) -> AbstractContextManager[Action]:
        learner, weights = role_learner(role, optimiser, 1, compute), role.parameters()

        def step() -> None:
            for weight in weights:
                weight.grad = torch.zeros_like(weight)
            learner.step()

        return nullcontext(step)

    return prepared


def laying_out() -> Task:
    """Weights laid out for sampling, and given up."""

    def laid(role: Role) -> None:
        with role.decoding():
            pass

    return lambda role: nullcontext(partial(laid, role))


def prefilling(rows: int, prompt: int, pack: bool) -> Task:
    """Prompts that differ, read side by side."""

    @contextmanager
    def prepared(role: Role) -> Iterator[Action]:
        with _sampling(role, pack) as step:
            yield lambda: Decoder(role, _prompts(role, rows, prompt), 0, 1, step)

    return prepared


def decoding(rows: int, behind: int, pack: bool) -> Task:
    """One more token, drawn and read, of rows that have read so many."""

    @contextmanager
    def prepared(role: Role) -> Iterator[Action]:
        with _sampling(role, pack) as step:
            decoder = Decoder(role, _prompts(role, rows, behind), 0, TIMES, step)
            uniforms = torch.full((rows,), 0.5)
            yield lambda: decoder.read(draw_tokens(role.logits(decoder.state), uniforms)[0])

    return prepared


@contextmanager
def _sampling(role: Role, pack: bool) -> Iterator[DecodeStep | None]:
    """As a role is while it samples, with weights laid out or as they lie."""
    with torch.no_grad(), role.decoding() if pack else nullcontext() as step:
        yield step


def _prompts(role: Role, rows: int, length: int) -> list[list[int]]:
    """That many, no two the same as long as the vocabulary lasts."""
    tokens = len(role.model.get_input_embeddings().weight)  # type: ignore[arg-type]
    return [[row % tokens, *[0] * (length - 1)] for row in range(rows)]
