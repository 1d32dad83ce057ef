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

    @property
    def id(self) -> str:
        """Of what is asked alone: the same two answers to the same prompt are one question."""
        asked = json.dumps([self.shown, self.first, self.second])
        return hashlib.sha256(asked.encode(errors="backslashreplace")).hexdigest()[:16]

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
    """Prompts on which two policies answered differently, in an order that chance chose.

    Args:
        prompts: that were held out.
        newer: lines of samples.jsonl of the one policy, one a prompt.
        older: those of the other.
        draw: seed, and the number of the look.
        known: questions that were asked before: judgements of them are no news.
    """
    seed, look = draw
    order = rng.permutation(seed, "guard prompts", look, count=len(prompts))
    sides = rng.uniform(seed, "guard sides", look, count=len(prompts))
    found: list[Question] = []
    for place in order:
        now, before = newer[place], older[place]
        if now["response"] != before["response"]:
            first = bool(sides[place] < 0.5)
            one, other = (now, before) if first else (before, now)
            found.append(Question(prompts[place], now["prompt"], one["response"], other["response"], first))
    return [one for one in found if one.id not in known]
