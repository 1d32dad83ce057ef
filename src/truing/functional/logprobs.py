"""From logits to what the policy thinks: the log-probability of a token, and how undecided it was."""

import torch

from truing.functional.shapes import Logits, Number, PerToken, Tokens


def token_logprobs(logits: Logits, tokens: Tokens, temperature: Number = 1.0) -> PerToken:
    """The log-probability of each token: log π(token) = log softmax(logits / temperature)[token], in nats.

    logits (B, R, V), where row r predicts `tokens[:, r]`; tokens (B, R). Returns (B, R). The temperature has to be the
    sampler's, in the rollout, the reference and the update alike. Raises ValueError unless it is above 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    return torch.log_softmax(logits / temperature, dim=-1).gather(-1, tokens.long()[..., None])[..., 0]


def token_entropy(logits: Logits) -> PerToken:
    """Entropy of the full next-token distribution, −Σ_v π(v)·log π(v), in nats.

    logits (B, R, V), already divided by the temperature. Returns (B, R). A token ruled out by a logit of −inf adds 0.
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    probs = logprobs.exp()
    return -(probs * torch.where(probs > 0, logprobs, 0.0)).sum(-1)
