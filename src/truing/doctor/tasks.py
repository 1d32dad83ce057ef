"""What is timed: the project's own code, given a role with real weights, ready to run again and again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from truing.doctor import passes
from truing.doctor.passes import Shape
from truing.doctor.tally import Tally
from truing.models.decoding import Decoder
from truing.models.fused_decoding import laid_out
from truing.models.roles import Role
from truing.models.sampler import Sampling, draw_tokens, sample
from truing.recipe import Compute, Optimiser
from truing.stages.loop import role_learner

Action = Callable[[], object]
"""What is to be timed"""
Task = Callable[[Role], AbstractContextManager[Action]]
"""A role to an action that is ready inside a block"""
NEVER = -1
"""A token that is not drawn"""
TIMES = 64
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


def prefilling(rows: int, prompt: int, pack: bool) -> Task:
    """A rollout of one token: weights are laid out, and prompts that differ are read side by side."""
    settings = Sampling(1, 1.0, eos=NEVER, pad=0, rows=rows, pack=pack)

    def prepared(role: Role) -> AbstractContextManager[Action]:
        prompts = _prompts(role, rows, prompt)
        return nullcontext(lambda: sample(role, prompts, settings, 0, "doctor", range(rows)))

    return prepared


def decoding(rows: int, behind: int, pack: bool) -> Task:
    """One more token of rows that have read so many."""

    @contextmanager
    def prepared(role: Role) -> Iterator[Action]:
        with torch.no_grad(), laid_out(role) if pack else nullcontext() as fused:
            decoder = Decoder(role, _prompts(role, rows, behind), 0, TIMES, fused)
            uniforms = torch.full((rows,), 0.5)

            def step() -> None:
                tokens, _ = draw_tokens(role.logits(decoder.state), uniforms)
                decoder.read(tokens)

            yield step

    return prepared


def _prompts(role: Role, rows: int, length: int) -> list[list[int]]:
    """That many, no two the same as long as the vocabulary lasts."""
    tokens = len(role.model.get_input_embeddings().weight)  # type: ignore[arg-type]
    return [[row % tokens, *[0] * (length - 1)] for row in range(rows)]
