"""Bootstrap samples: as many prompts as there are, drawn with replacement, each with all of its rows."""

from collections import Counter
from collections.abc import Hashable, Sequence

from truing.core import rng


def bootstrap_counts(prompts: Sequence[Hashable], members: int, seed: int) -> list[tuple[int, ...]]:
    """How often the sample of each of so many members has each row, which is as often as it has the row's prompt.

    Efron 1979. Rows of one prompt come together: they share texts, so samples of single rows would differ less than
    new data do. Over the distinct prompts, the counts of a member sum to their number.
    """
    distinct = list(dict.fromkeys(prompts))
    counts = [Counter[Hashable]() for _ in range(members)]
    for member, own in enumerate(counts):
        draws = rng.uniform(seed, "bootstrap", member, count=len(distinct))
        own.update(distinct[int(draw * len(distinct))] for draw in draws)
    return [tuple(own[prompt] for own in counts) for prompt in prompts]
