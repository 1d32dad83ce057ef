"""The local engine: sampling from a policy of this process.

Top-k, top-p and a minimum length are absent on purpose: the log-probabilities must be those of the distribution that
was sampled, or the KL to the reference is no KL any more.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from truing.core import rng
from truing.core.errors import TrainingError
from truing.core.order import in_any_order
from truing.core.transfer import integers, to_device
from truing.kernels.backend import DecodeStep
from truing.models.decoding import Decoder
from truing.models.logprobs import tempered
from truing.models.roles import Role
from truing.processes import group
from truing.rollout.engine import Completion, Drawing, Sampling


@dataclass(frozen=True)
class LocalEngine:
    """A role of this process: it samples with the weights that the learner changes."""

    role: Role

    def sync(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """They are the learner's own."""
        return {}

    def begin(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, seed: int, purpose: str
    ) -> Drawing:
        """See `Engine`. In the process that learns nothing is drawn meanwhile, so it begins when it is waited for."""
        return Drawing(partial(self.generate, prompts, ids, sampling, seed, purpose))

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, seed: int, purpose: str
    ) -> list[Completion]:
        """The same at once."""
        order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
        completions: dict[int, Completion] = {}
        with self.role.gathered(), self.role.decoding() if sampling.pack else nullcontext() as decode_step:
            lengths = [len(prompt) for prompt in prompts]
            for together in _side_by_side(group.share(order), lengths, sampling.rows, self.role.backend.pads):
                uniforms = [rng.uniform(seed, purpose, ids[row], count=sampling.max_new_tokens) for row in together]
                texts = [prompts[row] for row in together]
                sampled = _sample_group(self.role, texts, np.stack(uniforms), sampling, decode_step)
                completions |= dict(zip(together, sampled, strict=True))
        if group.size() > 1:
            handed_over, device = {row: one.to_hand_over() for row, one in completions.items()}, self.role.model.device
            completions = {
                row: replace(one, logprobs=to_device(one.logprobs, device))
                for row, one in group.gather(handed_over).items()
            }
        return [completions[row] for row in range(len(prompts))]


def _side_by_side(order: Sequence[int], lengths: Sequence[int], rows: int, pads: bool) -> list[Sequence[int]]:
    """At most so many neighbours of an `order` by length together; of one length, where the model cannot be padded."""
    alike = [order] if pads else [list(same) for _, same in groupby(order, key=lambda row: lengths[row])]
    return [same[start : start + rows] for same in alike for start in range(0, len(same), rows)]


def _sample_group(
    role: Role,
    prompts: Sequence[Sequence[int]],
    uniforms: np.ndarray,
    sampling: Sampling,
    decode_step: DecodeStep | None,
) -> list[Completion]:
    """Decodes rows side by side; a row that has finished leaves the batch when it is looked at.

    On a CPU that is at once. A device would have to be waited for, so it is every few steps; what is drawn behind an
    end until then is left out.
    """
    device, (rows, steps) = role.model.device, uniforms.shape
    uniforms_of = to_device(torch.from_numpy(uniforms), device)
    decoder = Decoder(role, prompts, sampling.pad, steps, decode_step, sampling.read_at_once)
    drawn = _Drawn.room(decoder, sampling, rows, steps)
    active, unfinished, looked = torch.arange(rows, device=device), [True] * rows, 0
    for step in range(steps):
        logits = tempered(role.logits(decoder.state), sampling.temperature)
        tokens, logprobs = role.vocabulary.draw(logits, uniforms_of[active, step])
        with in_any_order():
            drawn.tokens[active, step], drawn.logprobs[active, step] = tokens, logprobs
            drawn.hidden[active, step] = decoder.state
        if step + 1 == steps or (step + 1) % role.backend.look_every == 0:
            with role.in_step():  # on a GPU, it is here that this process waits for others
                unfinished = drawn.look(active, slice(looked, looked := step + 1), unfinished)
            if looked == steps or not any(unfinished):
                break
            kept = decoder.keep(unfinished)
            if len(kept) < len(unfinished):
                places, unfinished = integers(kept, device), [unfinished[row] for row in kept]
                active, tokens = active[places], tokens[places]
        decoder.read(tokens)
        if drawn.prefix_states is not None and decoder.prefix_states is not None:
            with in_any_order():
                drawn.prefix_states[active, step - steps] = decoder.prefix_states[:, 0]
    return drawn.completions(prompts, sampling.ends)


@dataclass(frozen=True)
class _Drawn:
    """Room for what is drawn for B rows, R tokens each."""

    tokens: Tensor
    """(B, R)"""
    logprobs: Tensor
    """(B, R)"""
    hidden: Tensor
    """(B, R, D)"""
    ends: Tensor
    """(N,) tokens of which any ends a response"""
    prefix_states: Tensor | None
    """(B, P + R, D) of left-padded prompts and of what follows them; None where there is no frozen prefix"""

    @classmethod
    def room(cls, decoder: Decoder, sampling: Sampling, rows: int, steps: int) -> "_Drawn":
        """With what left the frozen prefix for the prompts."""
        state, prefix_states = decoder.state, decoder.prefix_states
        return cls(
            tokens=torch.full((rows, steps), sampling.pad, device=state.device),
            logprobs=torch.zeros(rows, steps, device=state.device),
            hidden=state.new_empty(rows, steps, state.shape[-1]),
            prefix_states=None if prefix_states is None else _with_room(prefix_states, steps),
            ends=integers(sampling.ends, state.device),
        )

    def look(self, rows: Tensor, steps: slice, unfinished: Sequence[bool]) -> list[bool]:
        """Which of the (n,) `rows`, of which some were `unfinished` before these steps, still are; in one transfer.

        Raises:
            TrainingError: what one of their tokens was drawn from is no distribution.
        """
        ended = torch.isin(self.tokens[rows, steps], self.ends)
        behind_end = ended.cumsum(1) > ended
        sound = (self.logprobs[rows, steps].isfinite() | behind_end).all(1)
        end, is_sound = torch.stack([ended.any(1), sound]).tolist()
        if not all(sound or not goes_on for sound, goes_on in zip(is_sound, unfinished, strict=True)):
            what = "the logits of the model that samples are not finite."
            hint = "Lower the learning rate if the model was training; otherwise its weights cannot be used."
            raise TrainingError(what, code="training/logits-not-finite", hint=hint)
        return [goes_on and not ends for ends, goes_on in zip(end, unfinished, strict=True)]

    def completions(self, prompts: Sequence[Sequence[int]], ends: Sequence[int]) -> list[Completion]:
        """Each row up to its first end."""
        tokens, found, steps = self.tokens.cpu(), [], self.tokens.shape[1]
        for row, (asked, own) in enumerate(zip(map(len, prompts), tokens.tolist(), strict=True)):
            end = next((place + 1 for place, token in enumerate(own) if token in ends), None)
            until = end or steps
            prefix = None if self.prefix_states is None else self.prefix_states[row, -steps - asked :]
            states = self.hidden[row, :until], None if prefix is None else prefix[: asked + until - 1]
            found.append(Completion(tokens[row, :until], self.logprobs[row, :until], end is not None, *states))
        return found


def _with_room(asked: Tensor, steps: int) -> Tensor:
    """(B, P + steps, D): what left the frozen prefix for left-padded prompts (B, P, D), and room for what will."""
    return torch.cat([asked, asked.new_empty(len(asked), steps, asked.shape[-1])], dim=1)
