"""What each token of a response brought to its text."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, pairwise

from truing.core.records import Tokens
from truing.data.chat import CONTEXT, TextFormat
from truing.data.templates import decoded

HALF_A_CHARACTER = "\ufffd"
"""What decoders write for bytes that are no character yet"""

_decoded = lru_cache(maxsize=2**14)(decoded)
"""Neighbouring tokens are the same over and over"""


def token_texts(form: TextFormat, prompt: Tokens, tokens: Tokens, response: str) -> list[str]:
    """Texts that add up to the `response`, one a token; none at all where the decoder cannot tell them apart.

    A token that shows nothing, as one that ends a response, has an empty text, and so have all but the last of those
    that share a character.

    Args:
        form: by which tokens became text.
        prompt: behind which the tokens were drawn.
        tokens: of the response.
        response: their text, from which a template's own words around an answer may have been taken.
    """
    pieces = list(_pieces(form, prompt[-CONTEXT:], tokens))
    start = "".join(pieces).find(response)
    if start < 0:
        return []
    ends = [min(max(end - start, 0), len(response)) for end in accumulate(map(len, pieces), initial=0)]
    return [response[before:end] for before, end in pairwise(ends)]


def _pieces(form: TextFormat, before: Tokens, tokens: Tokens) -> Iterator[str]:
    """One a token, decoded behind the tokens that brought the piece before it: decoders look no further back."""
    whole = before + tokens
    start, told = 0, len(before)
    for end in range(len(before) + 1, len(whole) + 1):
        known, now = (_decoded(form.tokenizer, whole[start:to]) for to in (told, end))
        piece = now[len(known) :]
        if piece.endswith(HALF_A_CHARACTER) and end < len(whole):
            piece = ""
        yield piece
        if piece:
            start, told = told, end
