"""What a vLLM server is asked for, and what is taken from its answers: tokens in, tokens and log-probabilities out."""

import math
from collections.abc import Sequence
from typing import Any

from truing.core.errors import EngineError
from truing.core.text import in_one_line
from truing.rollout.engine import Sampling

COMPLETIONS = "/v1/completions"
PLAIN = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
"""Nothing but the temperature comes between the logits and the draw, whatever a model's own settings say"""


def draw_request(model: str, prompt: Sequence[int], seed: int, sampling: Sampling) -> dict[str, Any]:
    """One response to a prompt, drawn by a seed of its own; it ends where truing's own would."""
    return PLAIN | {
        "model": model,
        "prompt": list(prompt),
        "seed": seed,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_new_tokens,
        "stop_token_ids": list(sampling.ends),
        "ignore_eos": True,  # it may be none of these
        "logprobs": 0,
        "return_token_ids": True,
    }


def drawn(answer: Any, sampling: Sampling, where: str) -> tuple[list[int], list[float]]:
    """The tokens of a response, the one that ends it included, and the log-probability of each.

    Raises:
        EngineError: the answer lacks them, or is no response of this `sampling`.
    """
    try:
        (choice,) = answer["choices"]
        tokens, logprobs = list(choice["token_ids"]), list(choice["logprobs"]["token_logprobs"])
        ended = [token in sampling.ends for token in tokens]
        whole = ended[-1] or len(tokens) == sampling.max_new_tokens
        sound = whole and not any(ended[:-1]) and len(tokens) == len(logprobs) and all(map(math.isfinite, logprobs))
    except (LookupError, TypeError, ValueError) as error:
        raise _refused(answer, where) from error
    if not sound:
        raise _refused(answer, where)
    return tokens, logprobs


def score_request(model: str, tokens: Sequence[int]) -> dict[str, Any]:
    """The log-probability of each token of a text, at temperature 1."""
    return {"model": model, "prompt": list(tokens), "max_tokens": 1, "prompt_logprobs": 0}


def scored(answer: Any, tokens: Sequence[int], last: int, where: str) -> list[float]:
    """The log-probabilities of the `last` of these tokens.

    Raises:
        EngineError: the answer lacks them.
    """
    try:
        (choice,) = answer["choices"]
        given = [(token, choice["prompt_logprobs"][place]) for place, token in enumerate(tokens)][-last:]
        logprobs = [float(of_place[str(token)]["logprob"]) for token, of_place in given]
    except (LookupError, TypeError, ValueError) as error:
        raise _refused(answer, where) from error
    if not all(map(math.isfinite, logprobs)):
        raise _refused(answer, where)
    return logprobs


def _refused(answer: Any, where: str) -> EngineError:
    what = f"answers no response as it was asked for: {in_one_line(str(answer))[:300]}"
    hint = "Start vLLM 0.11 or newer, with --generation-config vllm."
    return EngineError(what, code="engine/bad-answer", where=where, hint=hint)
