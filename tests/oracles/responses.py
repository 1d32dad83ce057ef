"""What a model thinks of responses, by transformers alone."""

from collections.abc import Sequence

import numpy as np
import torch


def logprob(model: torch.nn.Module, prompt: Sequence[int], response: Sequence[int]) -> float:
    """Log π of the whole response, nats."""
    with torch.no_grad():
        logprobs = model(torch.tensor([[*prompt, *response]])).logits[0].log_softmax(-1)
    return float(sum(logprobs[len(prompt) - 1 + t, token] for t, token in enumerate(response)))


def logprobs(
    model: torch.nn.Module, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], average: bool = False
) -> np.ndarray:
    """(B,) of each prompt and response; divided by the response's tokens if `average`."""
    totals = [logprob(model, prompt, said) for prompt, said in zip(prompts, responses, strict=True)]
    return np.array([total / (len(said) if average else 1) for total, said in zip(totals, responses, strict=True)])
