"""Judges of pairs who know the true reward and err on a quarter of the pairs."""

import hashlib
from collections.abc import Callable, Sequence

Gold = Callable[[Sequence[str], Sequence[str]], list[float]]
PairsJudge = Callable[[Sequence[str], Sequence[Sequence[str]]], list[float]]
WRONG = 0.25


def noisy_judge(gold: Gold, seed: int) -> PairsJudge:
    """Of each pair of answers 1 where the first has the higher gold score, 0 the second, ½ for none; some turned round.

    Which ones are turned depends on the seed and on the pair alone, on whichever sides its answers are: asked again,
    the judge errs again.
    """

    def judge(prompts: Sequence[str], pairs: Sequence[Sequence[str]]) -> list[float]:
        first, second = (gold(prompts, [pair[side] for pair in pairs]) for side in (0, 1))
        right = [0.5 if a == b else float(a > b) for a, b in zip(first, second, strict=True)]
        return [
            1 - share if _errs(seed, prompt, pair) else share
            for prompt, pair, share in zip(prompts, pairs, right, strict=True)
        ]

    return judge


def _errs(seed: int, prompt: str, pair: Sequence[str]) -> bool:
    text = "\n".join([str(seed), prompt, *sorted(pair)])
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 1000 < 1000 * WRONG
