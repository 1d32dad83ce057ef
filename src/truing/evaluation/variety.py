"""How varied answers are, across those of one evaluation and each in itself: a policy may say the same to everybody."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")
"""A word, or a sign of a script that does not part its words"""

DISTINCT_WORDS_FACTOR = 0.5
SHARED_PHRASES_FACTOR, SHARED_PHRASES_RISE = 2.0, 0.15
FEW_ANSWERS = 8
"""Fewer than these say nothing of how alike answers are"""
COMMON, RARE = 0.8, 0.4
"""Shares of the answers that a word stands in: of one that took over, at the end and at the start"""


def distinct_words(answers: Sequence[str]) -> int:
    """Different words over all answers."""
    return len({word for answer in answers for word in words_of(answer)})


def shared_phrases(answers: Sequence[str]) -> float:
    """Share of an answer's phrases that another answer, drawn at random, has too; 0 where there are none.

    Σ_f c_f·(c_f − 1) / ((N − 1)·Σ_f c_f)        c_f of N answers have the phrase f, two neighbouring words
    """
    counts = Counter(phrase for answer in answers for phrase in set(pairwise(words_of(answer))))
    shared = sum(count * (count - 1) for count in counts.values())
    return shared / max(1, (len(answers) - 1) * counts.total())


def repeated_phrases(answer: str) -> float:
    """Share of an answer's phrases, two neighbouring words each, that it has said before; 0 where there are none."""
    phrases = list(pairwise(words_of(answer)))
    return 1 - len(set(phrases)) / len(phrases) if phrases else 0.0


def signs_of_likeness(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """What says that answers to the same prompts have become alike; nothing where they stayed varied.

    | measure            | at the end                                                                 |
    |--------------------|----------------------------------------------------------------------------|
    | distinct words     | at most half of what they were                                             |
    | shared phrases     | at least twice what they were, and 15 points more                          |
    | a word             | stands in at least 80% of the answers, and stood in less than 40%          |

    Args:
        before: answers at the first evaluation.
        after: at the last.
    """
    if len(after) < FEW_ANSWERS:
        return []
    words = distinct_words(before), distinct_words(after)
    phrases = shared_phrases(before), shared_phrases(after)
    signs = []
    if words[0] > 0 and words[1] <= DISTINCT_WORDS_FACTOR * words[0]:
        signs.append(f"distinct words over all of them fell from {words[0]:,} to {words[1]:,}")
    if phrases[1] >= max(SHARED_PHRASES_FACTOR * phrases[0], phrases[0] + SHARED_PHRASES_RISE):
        signs.append(f"two of them share {phrases[1]:.0%} of their phrases, at the start {phrases[0]:.0%}")
    return signs + _taken_over(before, after)


def _taken_over(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """The word that spread most, if it was rare and now stands in nearly every answer."""
    then, now = (Counter(word for answer in answers for word in set(words_of(answer))) for answers in (before, after))
    word = max(now, key=lambda one: (now[one] - then[one], one), default="")
    if now[word] < COMMON * len(after) or then[word] >= RARE * len(before):
        return []
    return [f"{word!r} stands in {now[word]} of {len(after)}, at the start in {then[word]}"]


def words_of(answer: str) -> list[str]:
    """In small letters."""
    return _WORD.findall(answer.lower())
