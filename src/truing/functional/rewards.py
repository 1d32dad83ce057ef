"""One reward a token: the KL penalty everywhere, the score at the end."""

import torch

from truing.functional.kl import kl_estimate
from truing.functional.shapes import Mask, Number, PerSequence, PerToken


def shape_rewards(
    scores: PerSequence, logprobs: PerToken, ref_logprobs: PerToken, mask: Mask, beta: Number
) -> PerToken:
    """What a policy maximises that is held to a reference, token by token.

        r_t = −β·(log π(y_t) − log π_ref(y_t)) + [t is the last counted token]·score

    so that a row sums to score − β·k1(row). Ziegler et al. 2019 (arXiv:1909.08593), equation 2.

    scores (B,); logprobs, ref_logprobs, mask (B, R). Returns (B, R), 0 off the mask. A row that counts nothing has no
    last token and stays 0.
    """
    counted = mask.bool()
    still_to_come = counted.flip(-1).cumsum(-1).flip(-1)  # counted tokens from here on, this one included
    last = counted & (still_to_come == 1)
    penalty = torch.where(counted, -beta * kl_estimate(logprobs, ref_logprobs), 0.0)
    return penalty + torch.where(last, scores[..., None], 0.0)
