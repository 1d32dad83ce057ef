"""Which of two answers is better? What a judge is asked about a policy's own answers, and where judgements are kept."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from truing.core import rng
from truing.core.records import Text


@dataclass(frozen=True)
class Question:
    """Two answers to a prompt, on sides that chance chose. It does not say whose they are."""

    prompt: Text
    shown: str
    """The prompt as one text for people"""
    first: str
    second: str
    newer_is_first: bool
    columns: str = ""
    """The further columns of the prompt's row, as JSON"""

    @property
    def id(self) -> str:
        """Of what is asked alone: the same two answers to the same prompt are one question."""
        return _digest(self.shown, self.first, self.second, *filter(None, [self.columns]))

    def outcome(self, first_wins: float) -> float:
        """1 where the newer policy's answer won, 0 where it lost, ½ for alike, from the same of the first answer."""
        return first_wins if self.newer_is_first else 1 - first_wins


def questions_about(
    prompts: Sequence[Text],
    newer: Sequence[Mapping[str, Any]],
    older: Sequence[Mapping[str, Any]],
    draw: tuple[int, int],
    known: Collection[str] = (),
) -> list[Question]:
    """Prompts on which two policies answered differently, in an order that chance chose; each question once.

    The sides of two answers are the same at every look: whoever says them again is known to be no news.

    Args:
        prompts: that were held out.
        newer: lines of samples.jsonl of the one policy, one a prompt; `columns` are the prompt's further ones.
        older: those of the other.
        draw: seed, and the number of the look.
        known: questions that were asked before: judgements of them are no news.
    """
    seed, look = draw
    order = rng.permutation(seed, "guard prompts", look, count=len(prompts))
    found: dict[str, Question] = {}
    for place in order:
        now, before = newer[place], older[place]
        if now["response"] != before["response"]:
            shown, columns = now["prompt"], now.get("columns", "")
            one, other = _sides(shown, now["response"], before["response"], seed)
            question = Question(prompts[place], shown, one, other, one == now["response"], columns)
            found.setdefault(question.id, question)
    return [question for name, question in found.items() if name not in known]


def _sides(shown: str, one: str, other: str, seed: int) -> tuple[str, str]:
    """Which of two answers comes first: chance says so, from the answers alone and not from whose they are."""
    low, high = sorted((one, other))
    (draw,) = rng.uniform(seed, "guard sides", int(_digest(shown, low, high), 16), count=1)
    return (low, high) if draw < 0.5 else (high, low)


def _digest(*texts: str) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]
