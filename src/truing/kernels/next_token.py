"""What is asked of logits: how likely a token is, how two distributions differ, and a draw.

A process that holds a slice of the vocabulary gives these answers together with those that hold the others, so they
are asked here, and nobody else sums over a vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from truing.functional import token_logprobs

BLOCK_TOKENS = 128
"""Tokens of the vocabulary whose probabilities are summed before they are looked into"""
STEPS = 2.0**40
"""Of the largest weight, the least that counts where weights are added as whole numbers"""


class Vocabulary:
    """All tokens of a vocabulary, whose logits this process has. See `processes.tensor_parallel` for a slice of it."""

    def logits(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """(..., V) what a projection makes of (..., D) hidden states."""
        logits: Tensor = layer(hidden)
        return logits

    def projection(self, layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """(V, D) the weight, and (V,) the bias, that give the logits this process has."""
        return layer.weight, layer.bias

    def log_softmax(self, logits: Tensor) -> Tensor:
        """(N, V) log-probabilities of the next token, nats, from (N, V) logits."""
        return torch.log_softmax(logits, dim=-1)

    def of_tokens(self, logprobs: Tensor, tokens: Tensor) -> Tensor:
        """(N,) those of (N,) tokens, out of (N, V)."""
        return logprobs.gather(1, tokens[:, None]).squeeze(1)

    def subtract_one_(self, slopes: Tensor, tokens: Tensor) -> None:
        """Takes 1 from (N, V) `slopes` at (N,) tokens."""
        slopes.scatter_add_(1, tokens[:, None], slopes.new_full((len(tokens), 1), -1.0))

    def total(self, part: Tensor) -> Tensor:
        """The sum over the vocabulary, from that over the tokens whose logits this process has."""
        return part

    def token_logprobs(self, logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
        """(N,) log π(token), nats, of (N,) tokens."""
        return token_logprobs(logits, tokens, temperature)

    def distribution(self, logits: Tensor, ref_logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N,) log π_ref(token), KL(π‖π_ref) and entropy of π, nats, from (N, V) logits of both, without a gradient.

        KL and entropy are no number where a logit is none.
        """
        logprobs, ref_logprobs = self.log_softmax(logits), self.log_softmax(ref_logits)
        of_drawn = self.of_tokens(ref_logprobs, tokens)
        is_broken = (logprobs[:, :1] + ref_logprobs[:, :1]).isnan().any(-1)  # one that is none takes along its row
        probs = logprobs.exp()
        apart = torch.sub(logprobs, ref_logprobs, out=ref_logprobs)
        # What is ruled out, of which 0·∞ is no number, is left out of the sums.
        sums = torch.stack([apart.mul_(probs).nansum(-1), -logprobs.mul_(probs).nansum(-1)])
        kl, entropy = self.total(sums).masked_fill(is_broken, torch.nan)
        return of_drawn, kl, entropy

    def draw(self, logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) tokens by inversion of one uniform (N,) each, and their log-probability. See `draw_tokens`."""
        return draw_tokens(logits, uniforms)


WHOLE = Vocabulary()


def draw_tokens(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) tokens with probability softmax(logits) (B, V), by inversion of one uniform (B,) each, and their log.

    The cumulative sum is taken over blocks of the vocabulary, and then inside the block that holds the draw.
    Logits that are no distribution, one of them NaN or infinite or all of them -inf, have a log that is not finite.
    """
    rows = torch.arange(len(logits), device=logits.device)
    weights, blocks = in_blocks(_weights(logits), -(-logits.shape[-1] // BLOCK_TOKENS))
    upto = cumulated(blocks.sum(-1))
    block, within = block_of_draw(upto, uniforms)
    tokens = (block * BLOCK_TOKENS + place_in_block(blocks[rows, block], within)).clamp(max=logits.shape[-1] - 1)
    return tokens, (weights[rows, tokens].to(upto.dtype) / upto[:, -1]).log().to(logits.dtype)


def _weights(logits: Tensor) -> Tensor:
    """(B, V) what tokens are drawn in proportion to; by one pass over memory where a device has a kernel for it."""
    if logits.device.type == "cpu":
        return (logits - logits.amax(-1, keepdim=True)).exp_()
    return logits.softmax(-1)


def in_blocks(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(B, ≥ V) weights with zeros behind the last token, and the same as (B, `count`, BLOCK_TOKENS)."""
    if lacking := count * BLOCK_TOKENS - weights.shape[-1]:
        weights = F.pad(weights, (0, lacking))
    return weights, weights.view(len(weights), count, BLOCK_TOKENS)


def cumulated(weights: Tensor) -> Tensor:
    """(B, N) cumulated sums of (B, N) weights, none of them negative, in double precision.

    CUDA adds floats in an order of its own, and refuses to where all is to be deterministic. Whole numbers have one sum
    in any order; what is below 2^-40 of a row's largest weight adds nothing then.
    """
    weights = weights.double()
    if weights.device.type == "cpu":
        return weights.cumsum(-1)
    step = weights.amax(-1, keepdim=True).clamp(min=STEPS * torch.finfo(torch.float32).tiny) / STEPS
    return (weights / step).long().cumsum(-1).double() * step


def block_of_draw(upto: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) the block in which (B,) uniforms land, of (B, N) cumulated sums of blocks, and (B, 1) how far inside it."""
    # Sums fall short of 1 by rounding; so no draw lands past them.
    wanted = uniforms.to(upto.dtype)[:, None] * upto[:, -1:]
    block = torch.searchsorted(upto, wanted, right=True).clamp(max=upto.shape[-1] - 1)
    before = torch.where(block > 0, upto.gather(1, (block - 1).clamp(min=0)), 0.0)
    return block[:, 0], wanted - before


def place_in_block(weights: Tensor, within: Tensor) -> Tensor:
    """(B,) the token of a block, of weights (B, BLOCK_TOKENS), in which a sum (B, 1) of the weights before it ends."""
    inside = cumulated(weights)
    # A block's sum in single precision may be more than its tokens' in double, and none of them lies behind the last.
    within = torch.minimum(within, inside[:, -1:].nextafter(torch.zeros_like(within)))
    return torch.searchsorted(inside, within, right=True)[:, 0]
