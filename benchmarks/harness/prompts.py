"""Prompts and lengths, the same for every side. Nothing is learnt here, so tokens are drawn at random."""

import random


def prompts(count: int, length: int, vocabulary: int) -> list[list[int]]:
    """So many different prompts; no token is among the first 8, where special ones are, nor the last of all."""
    draw = random.Random(17)
    return [[draw.randrange(8, vocabulary - 1) for _ in range(length)] for _ in range(count)]


def ragged(count: int, shortest: int, longest: int) -> list[int]:
    """Lengths from shortest to longest, each the same factor above the last one; shuffled."""
    factor = (longest / shortest) ** (1 / (count - 1))
    lengths = [round(shortest * factor**i) for i in range(count)]
    random.Random(17).shuffle(lengths)
    return lengths


def even(lengths: list[int]) -> list[int]:
    """As many lengths with the same sum, as equal as can be."""
    share, rest = divmod(sum(lengths), len(lengths))
    return [share + (i < rest) for i in range(len(lengths))]
