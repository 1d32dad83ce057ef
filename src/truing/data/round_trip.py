"""Whether the tokens of rows say what the rows say.

A chat template may leave out a turn or a key of a message, a tokenizer may not know characters, and a token may stand
across the seam of prompt and completion. None of these stops a run; none passes unsaid.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace

from truing.core.errors import ModelError
from truing.core.records import Message, Record, Text, Tokens
from truing.data.chat import TextFormat, Written, answered_text, prompt_text
from truing.data.encode import EncodedRow
from truing.data.remarks import Tally
from truing.data.templates import asks_for_the_date, decoded, decoded_prefix, default_prefix, encoded
from truing.data.turns import is_transcript

NO_TEMPLATE = (
    "the base has no chat template, so messages are written as 'User: ...' and 'Assistant: ...'; "
    "the template that does so is saved with what is trained."
)
LIKE_A_TOKEN = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
"""What a special token may look like"""
TURN_MARKERS = re.compile(r"<\|\w+\|>|<(?:start|end)_of_turn>|\[/?INST\]")
"""What the chat templates of the field write around turns"""
BY_CHANCE = 3
"""Characters of a special token that a text may spell out and mean something else, such as <s>"""
GREETING = 2
"""Words of a prompt that an answer may well begin with"""
DATED = "the chat template asks for the date, and is told data.date."


def of_the_template(form: TextFormat, records: Sequence[Record]) -> Iterator[str]:
    """What is to be known of the chat template that writes these records, in sentences."""
    if records and not isinstance(records[0].prompt, str):
        if not form.tokenizer.chat_template:
            yield NO_TEMPLATE
        elif asks_for_the_date(form.tokenizer):
            yield DATED
        yield from _closings_in_pieces(form)


def _closings_in_pieces(form: TextFormat) -> Iterator[str]:
    """As where the tokenizer of a base for plain text gets the template of its chat model."""
    for marker in LIKE_A_TOKEN.findall(form.endings.after):
        pieces = encoded(form.tokenizer, marker, special=True)
        known = form.tokenizer.convert_tokens_to_ids(marker)
        if len(pieces) < 2:
            continue
        if known in (None, form.tokenizer.unk_token_id):
            if TURN_MARKERS.fullmatch(marker):
                yield (
                    f"the chat template closes a turn with {marker}, which is no token of this tokenizer and is read "
                    f"as {len(pieces)}: is it another model's template? Else add it to the tokenizer's special tokens."
                )
        else:
            yield (
                f"the chat template closes a turn with {marker}, which the vocabulary has as one token, and the "
                f"tokenizer reads as {len(pieces)}: name it among its special tokens, as the template's model does."
            )


def note_oddities(
    form: TextFormat,
    completions: Sequence[str],
    tally: Tally,
    record: Record,
    row: EncodedRow,
    wholes: Sequence[Written],
) -> None:
    """Adds to the `tally` each way in which the tokens of a row do not say what its record says.

    Args:
        form: by which it was encoded.
        completions: the fields of a record that follow its prompt.
        tally: of all rows of a dataset.
        record: of it.
        row: its tokens.
        wholes: the texts that these are of, one for each completion, or the prompt alone.
    """
    answers = [getattr(record, name) for name in completions]
    found = dict(_oddities(form, record.prompt, answers, row, wholes))  # both sides of a pair count once
    for kind, what in found.items():
        tally.add(kind, f"{row.where}: {what}")


def _oddities(
    form: TextFormat, prompt: Text, answers: Sequence[Text], row: EncodedRow, wholes: Sequence[Written]
) -> Iterator[tuple[str, str]]:
    """Kind and description of what is odd about one row."""
    for whole, completion, answer in zip(wholes, row.completions.values() or [()], answers or [()], strict=True):
        content, turns = form.endings.content(completion), [*_turns(prompt), *_turns(answer)]
        yield from _unread(form, form.stand_ins.as_spelt(whole.text), row.prompt + content, turns)
        inner = sorted(set(content).intersection(form.endings.tokens))
        if inner:
            name = form.tokenizer.convert_ids_to_tokens(inner[0])
            yield "ended", f"{name} stands within a completion, and ends a response that is sampled: it would end there"
    if not all(whole.tokens[: len(row.prompt)] == row.prompt for whole in wholes):
        what = "a token of the whole text stands across the seam of prompt and completion, so they are tokenised apart"
        ends = isinstance(prompt, str) and prompt[-1:].isspace()
        yield "seam", what + ("; let the completion begin with the white space that ends the prompt" if ends else "")
    yield from _of_texts(form, *map(_turns, (prompt, *answers)))
    if isinstance(prompt, str):
        return
    for answer, whole in zip(answers or [()], wholes, strict=True):
        yield from _of_messages(form, (*prompt, *answer), whole.text, answered=bool(answers))


def _unread(form: TextFormat, text: str, tokens: Tokens, turns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Characters of a text that the tokenizer does not know, drops or changes, forms of a letter aside.

    Of white space only what stands within one of its `turns` counts: around them it is the template's.
    """
    unknown, bos = form.tokenizer.unk_token_id, form.tokenizer.bos_token_id
    known = (*form.endings.tokens, bos)  # where one token stands for everything, it says nothing
    if unknown not in known and unknown in tokens:
        count = f"{tokens.count(unknown)} of {len(tokens)} tokens are {form.tokenizer.unk_token}"
        yield "unknown", f"{count}: the tokenizer does not know their characters"
        return
    prefix = default_prefix(form.tokenizer)
    behind = tokens[len(prefix) :] if tokens[: len(prefix)] == prefix else tokens
    said, front = decoded(form.tokenizer, behind, special=True), decoded_prefix(form.tokenizer)
    if said.strip() and text.removeprefix(front).startswith(said):
        return
    whole = _squashed(text).removeprefix(_squashed(front))
    if not whole.startswith(_squashed(said)) or not said.strip():
        yield "lost", "the text does not come back from its tokens: the tokenizer drops or changes characters"
    written = [turn.strip() for turn in turns if turn.strip() in text]
    for white, name in (("\n", "line breaks"), ("  ", "spaces that follow a space")):
        if said.count(white) < sum(turn.count(white) for turn in written):
            yield name, f"the tokenizer drops {name}"
    if said == said.lower() and any(turn != turn.lower() for turn in written):
        yield "case", "the tokenizer makes capital letters small"


def _squashed(text: str) -> str:
    spaces = unicodedata.normalize("NFKC", text).replace("▁", " ")  # as SentencePiece writes one
    return "".join(spaces.casefold().split())


def _turns(text: Text) -> list[str]:
    return [text] if isinstance(text, str) else [message.content for message in text]


def _of_texts(form: TextFormat, prompt: Sequence[str], *answers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What the texts of a prompt's turns and of its completions have that looks like a mistake."""
    said = [text for texts in (prompt, *answers) for text in texts]
    spelt = next(filter(None, (form.stand_ins.first_in(text, BY_CHANCE) for text in said)), None)
    opening = form.stand_ins.pattern.match(said[0])
    spelt = spelt or (opening[0] if opening and opening[0].startswith("<") else None)
    foreign = next(filter(None, map(TURN_MARKERS.search, said)), None)
    if spelt:
        yield "spelt", f"spells out {spelt}, which is read as ordinary text: only a template writes special tokens"
    elif foreign:
        what = "as other models' templates write, which is ordinary text to this tokenizer"
        yield "foreign", f"has {foreign[0]}, {what}"
    if form.tokenizer.chat_template and is_transcript(said[0]):
        yield "transcript", "is a transcript, which is learnt as it stands; data.transcripts: true makes messages of it"
    again = [answer[-1].startswith(prompt[-1]) or is_transcript(answer[-1]) for answer in answers]
    if len(prompt[-1].split()) > GREETING and any(again):
        yield "repeated", "a completion begins with the prompt again, or is a whole transcript; take that off"


def _of_messages(
    form: TextFormat, messages: tuple[Message, ...], rendered: str, answered: bool
) -> Iterator[tuple[str, str]]:
    """What of messages the template does not write."""
    spelt = form.stand_ins.as_spelt(rendered)
    written = [message.content for message in messages if message.content.strip() in spelt]
    for index, message in enumerate(messages):
        said = message.content.strip()
        if said not in spelt or spelt.count(said) < sum(text.count(said) for text in written):
            yield f"{message.role} turn", f"the chat template leaves out or changes the {message.role}'s turn"
        keys = json.loads(message.more or "{}")
        for key in keys:
            others = {name: value for name, value in keys.items() if name != key}
            without = replace(message, more=json.dumps(others) if others else "")
            changed = (*messages[:index], without, *messages[index + 1 :])
            if _rendered(form, changed, answered) == rendered:
                yield f"key {key}", f"`{key}` of a message is not read: the chat template does not write it"


def _rendered(form: TextFormat, messages: tuple[Message, ...], answered: bool) -> str | None:
    """None where the template refuses such messages."""
    try:
        return _text_of(form, messages, answered)
    except ModelError:
        return None


def _text_of(form: TextFormat, messages: tuple[Message, ...], answered: bool) -> str:
    if not answered:
        return prompt_text(form, messages)
    prompt = messages[:-1]
    return answered_text(form, prompt, messages[-1:], prompt_text(form, prompt))
