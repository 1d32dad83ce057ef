"""A reward that can be checked: whether a response is the `answer` of its row."""

from collections.abc import Sequence


def correct(prompts: Sequence[str], responses: Sequence[str], answer: Sequence[str]) -> list[float]:
    """1 where a response is the answer, to the character, and 0 elsewhere."""
    return [float(response.strip() == right) for response, right in zip(responses, answer, strict=True)]
