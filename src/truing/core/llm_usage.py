"""What an LLM judge was asked in a stage, what that took, and the same in words."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LlmUsage:
    """What an LLM judge was asked in a stage, and what that took."""

    answers: int
    calls: int
    """Requests, those that failed before an answer came among them"""
    prompt_tokens: int
    completion_tokens: int
    unreadable: int
    """Answers in which no score or choice was found"""
    pairs: int | None = None
    """Asked about in both orders"""
    first_preferred: float | None = None
    """How often, over both orders, what came first was preferred; ½ for a judge without position bias"""
    contradicted: float | None = None
    """Share of pairs of which the order alone decided, the same side being preferred in both"""


def costs(judges: Mapping[str, LlmUsage]) -> list[str]:
    """What each of a stage's judges was asked, a sentence each."""
    return [_in_words(name, used) for name, used in judges.items()]


def _in_words(name: str, used: LlmUsage) -> str:
    """The cost, what could not be read, and whether the order of two responses decided."""
    tokens = f"{used.prompt_tokens:,} tokens read and {used.completion_tokens:,} written"
    told = [f"LLM judge {name}: {used.answers:,} answers by {used.calls:,} calls, {tokens}"]
    if used.unreadable:
        told.append(f"{used.unreadable:,} could not be read")
    if used.first_preferred is not None and used.contradicted is not None:
        bias = f"of {used.pairs:,} pairs, asked in both orders, the response shown first won {used.first_preferred:.0%}"
        told.append(f"{bias}, and the order alone decided {used.contradicted:.0%}")
    return "; ".join(told) + "."
