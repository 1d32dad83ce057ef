"""What ends a response: one notion for encoding, sampling, scoring and saving.

A model may close its turn with another token than the tokenizer's eos: Gemma with `<end_of_turn>`, Llama 3 with
`<|eot_id|>`. It says so in its generation config, and its chat template writes the token behind the assistant's turn.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from truing.core.records import Tokens
from truing.data.templates import ANY_DATE, decoded, encoded, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ANSWER = "\ufdd2"
"""Stands for an answer in a conversation that is rendered to see what comes around it; no text may use it"""
_QUESTION = {"role": "user", "content": "a"}
_PROBES = ([_QUESTION], [{"role": "system", "content": "a"}, _QUESTION])
"""Conversations of which a template renders at least one"""


@dataclass(frozen=True)
class Endings:
    """The tokens that end a response, for one base, and the text that its template writes around an answer."""

    tokens: Tokens
    """Any of them ends a response that is sampled"""
    text: Tokens
    """The one that closes rows of plain text; none in a classifier whose tokenizer has no eos"""
    turn: Tokens
    """The one that closes rows of messages: with it the chat template closes the assistant's turn"""
    written: Tokens
    """All that the template writes from there on, often a line break too; none where it writes ordinary text alone"""
    before: str = ""
    """What decoding shows between the template's generation prompt and an answer, such as a space"""
    after: str = ""
    """What it shows between an answer and `turn`"""

    def closed(self, response: Tokens, chat: bool) -> Tokens:
        """A response that has ended, as a reward model reads it: a chat to the end of what its template writes."""
        return self.content(response) + (self.written if chat else self.text)

    def content(self, response: Tokens) -> Tokens:
        """A response without the token that ends it."""
        return response[:-1] if response and response[-1] in self.tokens else response


def endings_of(tokenizer: "PreTrainedTokenizerBase", declared: Sequence[Iterable[int]] = ()) -> Endings:
    """What ends a response of a model with this tokenizer.

    Args:
        tokenizer: with its chat template, where it has one.
        declared: the ids that each of the model's configs calls eos. They count where one of them is the tokenizer's
            eos or is written behind an answer; others are a library's default that was never meant.

    Returns:
        It, without a token where nothing ends a response: such a tokenizer is a classifier's, or refused.
    """
    eos = tokenizer.eos_token_id
    probe = next((probe for probe in _probes(tokenizer) if _ANSWER in probe.whole), None)
    behind = probe.whole.rpartition(_ANSWER)[2] if probe else ""
    tokens = encoded(tokenizer, behind, special=True)
    known = [eos] if isinstance(eos, int) else []
    own = tokenizer.added_tokens_decoder
    for ids in map(set, declared):
        if not known or eos in ids or ids.intersection(tokens):
            known += [token for token in sorted(ids) if token in own and token not in known]
    place = _closing(tokens, tokenizer, known)
    written = tokens[place:] if place is not None else ()
    text = tuple(known[:1]) or written[:1]
    if probe is None:  # a template that fails on plain questions: rows fail on it too, and are told
        return Endings(tuple(sorted(known)), text, text, text)
    around = ("", "")
    with suppress(Exception):  # a tokenizer that does not know the template's characters fails on every row too
        around = _as_decoded(tokenizer, probe, written[:1])
    return Endings(tuple(sorted({*known, *written[:1]})), text, written[:1] or text, written, *around)


@dataclass(frozen=True)
class _Probe:
    """A conversation as the chat template renders it."""

    asked: list[dict[str, str]]
    beginning: str
    """From which it is answered"""
    whole: str
    """With its answer"""


def drops_answers(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the chat template renders conversations and nothing of their answers.

    So do those that expect a list of parts, pictures among them, where there is text.
    """
    probes = list(_probes(tokenizer))
    return bool(probes) and not any(_ANSWER in probe.whole for probe in probes)


def _probes(tokenizer: "PreTrainedTokenizerBase") -> Iterator[_Probe]:
    """Those that the chat template does not fail on."""
    for asked in _PROBES:
        with suppress(Exception):  # a template is a program: it raises what it likes
            beginning = render(tokenizer, asked, ANY_DATE, add_generation_prompt=True)
            yield _Probe(asked, beginning, _answered(tokenizer, asked, _ANSWER))


def _answered(tokenizer: "PreTrainedTokenizerBase", asked: list[dict[str, str]], answer: str) -> str:
    turns = [*asked, {"role": "assistant", "content": answer}]
    return render(tokenizer, turns, ANY_DATE, add_generation_prompt=False)


def _as_decoded(tokenizer: "PreTrainedTokenizerBase", probe: _Probe, closing: Tokens) -> tuple[str, str]:
    """What decoding shows before an answer and behind it, up to the token that closes the turn.

    It is what two answers have around them. Special tokens are left out of it, and SentencePiece puts a space behind
    them that no template writes.
    """
    shown = []
    for answer in ("a", "b"):
        texts = probe.beginning, _answered(tokenizer, probe.asked, answer)
        asked, whole = (encoded(tokenizer, text, special=True) for text in texts)
        ends = [place for place, token in enumerate(whole) if token in closing]
        start, said = (decoded(tokenizer, tokens) for tokens in (asked, whole[: ends[-1]] if ends else whole))
        shown.append(said.removeprefix(start) if said.startswith(start) else answer)
    return _shared(*shown), _shared(*(said[::-1] for said in shown))[::-1]


def _shared(one: str, other: str) -> str:
    """The beginning that both have."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((place for place, (ours, theirs) in pairs if ours != theirs), len(other))]


def _closing(tokens: Tokens, tokenizer: "PreTrainedTokenizerBase", known: Sequence[int]) -> int | None:
    """Where a turn is closed in what is written behind an answer: at a known end, else at the first marker there.

    A marker is a special token, or else one that was added to the vocabulary and is no white space.
    """
    own = tokenizer.added_tokens_decoder
    special = {token for token, one in own.items() if one.special}
    added = {token for token, one in own.items() if one.content.strip()}
    places = (place for kind in (known, special, added) for place, token in enumerate(tokens) if token in kind)
    return next(places, None)
