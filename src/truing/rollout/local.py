"""Sampling from a policy: the one place where responses are generated for training.

Top-k, top-p and a minimum length are absent on purpose: the log-probabilities must be those of the distribution that
was sampled, or the KL to the reference is no KL any more.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from truing.core import rng
from truing.core.batches import Rollout, Sequences
from truing.core.errors import TrainingError
from truing.kernels.backend import DecodeStep
from truing.models.roles import Role
from truing.rollout.decoding import Decoder

BLOCK = 128
"""Tokens of the vocabulary whose probabilities are summed before they are looked into"""


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn."""

    max_new_tokens: int
    temperature: float
    eos: int
    pad: int
    rows: int
    """Responses sampled side by side; changes speed and memory, not what is drawn"""
    pack: bool = True
    """Whether weights are laid out for sampling on a CPU; changes speed and memory, results by rounding"""


@dataclass(frozen=True)
class _Response:
    """What one row said."""

    tokens: Tensor
    """(R,)"""
    logprobs: Tensor
    """(R,)"""
    hidden: Tensor
    """(R, D) the state that each token was drawn from"""
    prefix_states: Tensor | None
    """(T − 1, D) what left the frozen prefix for every token that was read"""


@torch.no_grad()
def sample(
    role: Role,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    seed: int,
    purpose: str,
    ids: Sequence[int],
) -> Rollout:
    """One response to each prompt: `prompts` are B token lists, each at least one token; `ids` B sample ids.

    The draws of a response depend on (seed, purpose, id) and on nothing else.

    Raises:
        TrainingError: the model's logits are not finite.
    """
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    said: dict[int, _Response] = {}
    with role.decoding() if sampling.pack else nullcontext() as decode_step:
        for start in range(0, len(order), sampling.rows):
            group = order[start : start + sampling.rows]
            uniforms = [rng.uniform(seed, purpose, ids[row], count=sampling.max_new_tokens) for row in group]
            responses = _sample_group(role, [prompts[row] for row in group], np.stack(uniforms), sampling, decode_step)
            said |= dict(zip(group, responses, strict=True))
    return _as_rollout(prompts, [said[row] for row in range(len(prompts))], sampling)


def _sample_group(
    role: Role,
    prompts: Sequence[Sequence[int]],
    uniforms: np.ndarray,
    sampling: Sampling,
    decode_step: DecodeStep | None,
) -> list[_Response]:
    """Decodes rows side by side; a row that has finished leaves the batch at once."""
    draws_of = torch.from_numpy(uniforms).to(role.model.device)
    rows, steps = draws_of.shape
    decoder = Decoder(role, prompts, sampling.pad, steps, decode_step)
    tokens = torch.full((rows, steps), sampling.pad, device=draws_of.device)
    logprobs = torch.zeros(rows, steps, device=draws_of.device)
    hidden = decoder.state.new_empty(rows, steps, decoder.state.shape[-1])
    prefix_states = _with_room(decoder.prefix_states, steps)
    alive = torch.arange(rows, device=draws_of.device)
    for step in range(steps):
        drawn, logprobs[alive, step] = _drawn(role.logits(decoder.state), draws_of[alive, step], sampling.temperature)
        tokens[alive, step] = drawn
        hidden[alive, step] = decoder.state
        going = drawn != sampling.eos
        if step + 1 == steps or not going.any():
            break
        kept = decoder.keep(going)
        alive, drawn = alive[kept], drawn[kept]
        decoder.read(drawn)
        if prefix_states is not None and decoder.prefix_states is not None:
            prefix_states[alive, step - steps] = decoder.prefix_states[:, 0]
    ends = [row.index(sampling.eos) + 1 if sampling.eos in row else steps for row in tokens.tolist()]
    return [
        _Response(
            tokens[row, :end],
            logprobs[row, :end],
            hidden[row, :end],
            None if prefix_states is None else prefix_states[row, -steps - len(prompts[row]) : end - steps - 1],
        )
        for row, end in enumerate(ends)
    ]


def _with_room(asked: Tensor | None, steps: int) -> Tensor | None:
    """(B, P + steps, D) what left the frozen prefix for left-padded prompts, and room for what will."""
    if asked is None:
        return None
    return torch.cat([asked, asked.new_empty(len(asked), steps, asked.shape[-1])], dim=1)


def _as_rollout(prompts: Sequence[Sequence[int]], said: Sequence[_Response], sampling: Sampling) -> Rollout:
    prefix_states = [response.prefix_states for response in said if response.prefix_states is not None]
    device = said[0].tokens.device
    return Rollout(
        sequences=Sequences.collate(
            prompts, [response.tokens.tolist() for response in said], sampling.pad, prefix_states or None
        ).to(device),
        logprobs=pad_sequence([response.logprobs for response in said], batch_first=True),
        hidden=pad_sequence([response.hidden for response in said], batch_first=True),
        finished=torch.tensor([int(response.tokens[-1]) == sampling.eos for response in said], device=device),
    )


def _drawn(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    tokens, logprobs = draw_tokens(logits if temperature == 1 else logits / temperature, uniforms)
    if not bool(logprobs.isfinite().all()):
        raise TrainingError(
            "the logits of the model that samples are not finite.",
            hint="Lower the learning rate if the model was training; otherwise its weights cannot be used.",
        )
    return tokens, logprobs


def draw_tokens(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) tokens with probability softmax(logits) (B, V), by inversion of one uniform (B,) each, and their log.

    The cumulative sum is taken over blocks of the vocabulary, and then inside the block that holds the draw.
    Logits that are no distribution, one of them NaN or infinite or all of them -inf, have a log that is not finite.
    """
    rows = torch.arange(len(logits), device=logits.device)
    weights = F.pad((logits - logits.amax(-1, keepdim=True)).exp_(), (0, -logits.shape[-1] % BLOCK))
    blocks = weights.view(len(logits), -1, BLOCK)
    upto = blocks.sum(-1).double().cumsum(-1)
    wanted = uniforms.double()[:, None] * upto[:, -1:]  # sums fall short of 1 by rounding; so no draw lands past them
    block = torch.searchsorted(upto, wanted, right=True).clamp(max=upto.shape[-1] - 1)
    before = torch.where(block > 0, upto.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[rows, block[:, 0]].double().cumsum(-1)
    # A block's sum in single precision may be more than its tokens' in double, and none of them lies behind the last.
    within = torch.minimum(wanted - before, inside[:, -1:].nextafter(torch.zeros_like(before)))
    tokens = (block * BLOCK + torch.searchsorted(inside, within, right=True))[:, 0].clamp(max=logits.shape[-1] - 1)
    return tokens, (weights[rows, tokens].double() / upto[:, -1]).log().to(logits.dtype)
