"""From rated snippets to the rows of each stage. No snippet serves in two places.

Every text is a review that follows the head ``Review:``. The reward model is taught on ``Review:`` + a whole snippet,
and meets ``Review: An engrossing story that`` + a continuation in PPO: the same kind of sequence, cut elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from snippets import Snippet

from truing.core.errors import DataError

HEAD = "Review:"
OPENING_WORDS = 4  # about five tokens
MIN_DIFFERENCE = 1.0  # of two mean ratings, on the scale from -4 to 4

Row = dict[str, str | float]


@dataclass(frozen=True)
class Sizes:
    """How many rows of each kind to make."""

    preferences: int = 1000
    heldout_preferences: int = 500
    demonstrations: int = 1600
    prompts: int = 1000


def make_rows(snippets: Sequence[Snippet], sizes: Sizes, seed: int) -> dict[str, list[Row]]:
    """Rows by file name (without .jsonl); DataError if there are too few snippets for the sizes."""
    pairs, others = pair_up(shuffled(snippets, seed), sizes.preferences + sizes.heldout_preferences)
    others = shuffled(others, seed)
    demonstrations = [demonstration(snippet) for snippet in others[: sizes.demonstrations]]
    seen = {row["prompt"] for row in demonstrations}
    openings = dict.fromkeys(demonstration(snippet)["prompt"] for snippet in others[sizes.demonstrations :])
    prompts: list[Row] = [{"prompt": opening} for opening in openings if opening not in seen]
    rows = {
        "preferences": pairs[: sizes.preferences],
        "heldout_preferences": pairs[sizes.preferences :],
        "demonstrations": demonstrations,
        "prompts": prompts[: sizes.prompts],
    }
    for name, made in rows.items():
        wanted = getattr(sizes, name)
        if len(made) < wanted:
            raise DataError(f"{len(snippets)} snippets give {len(made)} rows, {wanted} are wanted.", where=name)
    return rows


def shuffled(snippets: Iterable[Snippet], seed: int) -> list[Snippet]:
    """An order that depends on the seed and each snippet's id alone."""
    return sorted(snippets, key=lambda snippet: hashlib.sha256(f"{seed}:{snippet.id}".encode()).digest())


def pair_up(snippets: Sequence[Snippet], count: int) -> tuple[list[Row], list[Snippet]]:
    """The first ``count`` pairs of neighbours whose ratings differ by MIN_DIFFERENCE or more, and all other snippets.

    A snippet is in one pair at most, so the pairs are independent and no snippet can be on both sides of a split.
    """
    pairs: list[Row] = []
    others: list[Snippet] = []
    for two in zip(snippets[::2], snippets[1::2], strict=False):
        worse, better = sorted(two, key=lambda snippet: snippet.rating)
        if len(pairs) < count and better.rating - worse.rating >= MIN_DIFFERENCE:
            pairs.append(preference(better, worse))
        else:
            others.extend(two)
    return pairs, others + list(snippets[len(snippets) // 2 * 2 :])


def preference(better: Snippet, worse: Snippet) -> Row:
    """A pair under the shared head; ``margin`` is the difference of the mean ratings."""
    margin = round(better.rating - worse.rating, 4)
    return {"prompt": HEAD, "chosen": f" {better.text}", "rejected": f" {worse.text}", "margin": margin}


def demonstration(snippet: Snippet) -> Row:
    """Head and opening words as the prompt, the rest as the completion: together they are the text.

    >>> demonstration(Snippet("1", "An engrossing story that will captivate.", 3.0))
    {'prompt': 'Review: An engrossing story that', 'completion': ' will captivate.'}
    """
    words = snippet.text.split(" ")
    prompt = " ".join([HEAD, *words[:OPENING_WORDS]])
    return {"prompt": prompt, "completion": " " + " ".join(words[OPENING_WORDS:])}


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
