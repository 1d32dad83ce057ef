"""The local engine: sampling from a policy of this process.

Top-k, top-p and a minimum length are absent on purpose: the log-probabilities must be those of the distribution that
was sampled, or the KL to the reference is no KL any more.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from truing.core import rng
from truing.core.errors import TrainingError
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
            completions = group.gather({row: one.without_states() for row, one in completions.items()})
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
    """Decodes rows side by side; a row that has finished leaves the batch at once."""
    uniforms_of = torch.from_numpy(uniforms).to(role.model.device)
    rows, steps = uniforms_of.shape
    decoder = Decoder(role, prompts, sampling.pad, steps, decode_step)
    tokens = torch.full((rows, steps), sampling.pad, device=uniforms_of.device)
    logprobs = torch.zeros(rows, steps, device=uniforms_of.device)
    hidden = decoder.state.new_empty(rows, steps, decoder.state.shape[-1])
    prefix_states = _with_room(decoder.prefix_states, steps)
    active = torch.arange(rows, device=uniforms_of.device)
    ends = torch.tensor(sampling.ends, device=uniforms_of.device)
    for step in range(steps):
        drawn, logprobs[active, step] = _drawn(role, decoder.state, uniforms_of[active, step], sampling.temperature)
        tokens[active, step] = drawn
        hidden[active, step] = decoder.state
        unfinished = ~torch.isin(drawn, ends)
        if step + 1 == steps or not unfinished.any():
            break
        kept = decoder.keep(unfinished)
        active, drawn = active[kept], drawn[kept]
        decoder.read(drawn)
        if prefix_states is not None and decoder.prefix_states is not None:
            prefix_states[active, step - steps] = decoder.prefix_states[:, 0]
    completions = []
    for row, own in enumerate(tokens.tolist()):
        end = next((place + 1 for place, token in enumerate(own) if token in sampling.ends), None)
        finished, end, asked = end is not None, end or steps, len(prompts[row])
        prefix = None if prefix_states is None else prefix_states[row, -steps - asked :][: asked + end - 1]
        completions.append(Completion(tokens[row, :end], logprobs[row, :end], finished, hidden[row, :end], prefix))
    return completions


def _with_room(asked: Tensor | None, steps: int) -> Tensor | None:
    """(B, P + steps, D) what left the frozen prefix for left-padded prompts, and room for what will."""
    if asked is None:
        return None
    return torch.cat([asked, asked.new_empty(len(asked), steps, asked.shape[-1])], dim=1)


def _drawn(role: Role, hidden: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    tokens, logprobs = role.vocabulary.draw(tempered(role.logits(hidden), temperature), uniforms)
    if not bool(logprobs.isfinite().all()):
        what = "the logits of the model that samples are not finite."
        hint = "Lower the learning rate if the model was training; otherwise its weights cannot be used."
        raise TrainingError(what, code="training/logits-not-finite", hint=hint)
    return tokens, logprobs
