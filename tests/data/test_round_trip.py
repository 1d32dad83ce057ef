"""What rows say and their tokens do not is told, once a kind, with the first row and the number of rows."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import tiny
import tokenizer_shapes as shapes
from tokenizers import Regex, Tokenizer, normalizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from truing.core.records import Demonstration, Message, Preference, Text
from truing.data.chat import TextFormat, write_prompt
from truing.data.encode import Record, encode_records
from truing.data.remarks import Tally
from truing.data.round_trip import DATED, NO_TEMPLATE, note_oddities, of_the_template

CHATML = shapes.byte_bpe("chatml")
PLAIN = shapes.byte_bpe()
WORDS = tiny.tokenizer()
WORDS.unk_token = "?"


def remarks(words: PreTrainedTokenizerFast, *pairs: tuple[Text, Text]) -> list[str]:
    """What is told of demonstrations of these prompts and completions, in rows r:1, r:2, ..."""
    form = tiny.text_format(words)
    records = [Demonstration(*pair, f"r:{number}") for number, pair in enumerate(pairs, 1)]
    return told_of(form, records, ("completion",))


def told_of(form: TextFormat, records: Sequence[Record], completions: Sequence[str]) -> list[str]:
    """What is told of records, all of which can be encoded."""
    tally = Tally()
    note = partial(note_oddities, form, completions, tally)
    _, refused = encode_records(records, completions, form, partial(write_prompt, form), note)
    assert not refused
    return [*of_the_template(form, records), *tally.sentences()]


def chat(*contents: str, system: str = "", **more: Any) -> tuple[Text, Text]:
    """A conversation of these turns, with other keys of its last message."""
    messages = [Message("system", system)] if system else []
    messages += [Message("assistant" if i % 2 else "user", text) for i, text in enumerate(contents)]
    messages[-1] = Message("assistant", contents[-1], json.dumps(more) if more else "")
    return tuple(messages[:-1]), tuple(messages[-1:])


def templated(template: str) -> PreTrainedTokenizerFast:
    words = shapes.byte_bpe()
    words.chat_template = template
    return words


@pytest.mark.parametrize("words", [PLAIN, shapes.sentencepiece(), shapes.metaspace()], ids=shapes.SHAPES)
def test_sound_rows_are_passed_over(words: PreTrainedTokenizerFast) -> None:
    assert remarks(words, ("How many oars?\n", "Four, and é 世."), ("a < b", " > c")) == []


@pytest.mark.parametrize("template", shapes.TEMPLATES)
@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_sound_conversations_are_passed_over(shape: str, template: str) -> None:
    words = shapes.SHAPES[shape](template)
    assert remarks(words, chat("How many?", " Four \n oars. "), chat("a", "b", "c", "d")) == []


def test_characters_that_the_tokenizer_does_not_know_are_counted() -> None:
    told = remarks(WORDS, ("abc", "xyz"), ("abc", "x世y"), ("a世", "b"))
    assert told == ["r:2: 1 of 6 tokens are ?: the tokenizer does not know their characters; 2 rows are so."]


def test_characters_that_vanish_are_told() -> None:
    words = PreTrainedTokenizerFast(tokenizer_object=_without_unknown(), eos_token=tiny.EOS)
    assert remarks(words, ("abc", "x世y")) == [
        "r:1: the text does not come back from its tokens: the tokenizer drops or changes characters."
    ]


def test_white_space_that_vanishes_within_a_text_is_told() -> None:
    words: Any = shapes.byte_bpe()
    words._tokenizer.normalizer = normalizers.Replace(Regex(r"\s+"), " ")
    assert remarks(words, ("a", " b c"), ("a", " b\n  c")) == [
        "r:2: the tokenizer drops line breaks.",
        "r:2: the tokenizer drops spaces that follow a space.",
    ]


def test_capital_letters_that_become_small_are_told() -> None:
    words: Any = shapes.byte_bpe()
    words._tokenizer.normalizer = normalizers.Lowercase()
    assert remarks(words, ("a", " b"), ("a", " B")) == ["r:2: the tokenizer makes capital letters small."]


def _without_unknown() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    made = Tokenizer(models.BPE({token: place for place, token in enumerate([*tiny.LETTERS, tiny.EOS])}, []))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    return made


def test_keys_that_the_template_does_not_write_are_told_and_others_not() -> None:
    rows = chat("a", "b", reasoning_content="since"), chat("c", "d", name="Ann", weight=0)
    assert remarks(CHATML, *rows) == [
        "r:1: `reasoning_content` of a message is not read: the chat template does not write it.",
        "r:2: `name` of a message is not read: the chat template does not write it.",
        "r:2: `weight` of a message is not read: the chat template does not write it.",
    ]
    writes = templated("{% for m in messages %}{{ m.reasoning_content or '' }}{{ m.content }}<|end|>{% endfor %}")
    assert remarks(writes, rows[0]) == []


def test_a_turn_that_the_template_drops_is_told() -> None:
    drops = templated("{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}|{% endif %}{% endfor %}")
    rows = chat("a", "b", system="be short"), chat("c", "d"), chat("be well", "f", system="be")
    assert remarks(drops, *rows) == ["r:1: the chat template leaves out or changes the system's turn; 2 rows are so."]


def test_reasoning_that_the_template_strips_is_told() -> None:
    strips = templated("{% for m in messages %}{{ m.content.split('</think>')[-1] }}|{% endfor %}")
    assert remarks(strips, chat("a", "<think>so</think>b")) == [
        "r:1: the chat template leaves out or changes the assistant's turn."
    ]


def test_a_template_that_writes_nothing_of_an_answer_is_refused_once() -> None:
    of_parts = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}<|end|>{% endfor %}"
    form = tiny.text_format(templated(of_parts))
    records = [Demonstration(*chat("a", "b"), f"r:{number}") for number in (1, 2)]
    rows, refused = encode_records(records, ("completion",), form, partial(write_prompt, form))
    assert rows == []
    assert [problem.code for problem in refused] == ["model/template-drops-answers"]


def test_rows_that_are_rendered_already_and_prompts_that_come_twice_are_told() -> None:
    told = remarks(PLAIN, ("<|im_start|>user\na<|im_end|>\n", "b<|im_end|>"), ("Ask of me: c", "Ask of me: c d"))
    assert told == [
        "r:1: spells out <|im_start|>, which is read as ordinary text: only a template writes special tokens.",
        "r:2: a completion begins with the prompt again, or is a whole transcript; take that off.",
    ]


def test_rows_that_were_rendered_for_another_model_are_told() -> None:
    assert remarks(PLAIN, ("<s>ask", " b"), ("<|header|>a", " b"), ("a < b and x", " b|>")) == [
        "r:1: spells out <s>, which is read as ordinary text: only a template writes special tokens.",
        "r:2: has <|header|>, as other models' templates write, which is ordinary text to this tokenizer.",
    ]


def test_a_transcript_on_a_base_with_a_chat_template_is_told() -> None:
    row = "\n\nHuman: a\n\nAssistant:", " b"
    assert remarks(PLAIN, row) == []
    assert remarks(CHATML, row) == [
        "r:1: is a transcript, which is learnt as it stands; data.transcripts: true makes messages of it."
    ]


def test_what_a_tokenizer_puts_in_front_of_a_text_is_no_loss() -> None:
    words: Any = shapes.byte_bpe()
    front = [(token, words.convert_tokens_to_ids(token)) for token in ("<|user|>", "<s>")]
    words._tokenizer.post_processor = TemplateProcessing(single="<|user|> <s> $A", special_tokens=front)
    assert remarks(words, ("How many", " oars?")) == []


def test_so_are_messages_that_are_and_do() -> None:
    told = remarks(CHATML, chat("How many oars?", "How many oars? Four."), chat("a", "<|im_start|>b"))
    assert told == [
        "r:1: a completion begins with the prompt again, or is a whole transcript; take that off.",
        "r:2: spells out <|im_start|>, which is read as ordinary text: only a template writes special tokens.",
    ]


def test_a_key_without_which_the_template_refuses_a_message_is_read() -> None:
    words = shapes.byte_bpe()
    words.chat_template = (
        "{% for m in messages %}{{ raise_exception('who?') if m.role == 'assistant' and not m.name }}{{ m.content }}"
        "<|im_end|>{% endfor %}"
    )
    assert remarks(words, chat("How many oars?", "Four.", name="Ann")) == []


def test_a_closing_that_is_a_token_and_is_read_in_pieces_is_told() -> None:
    """As where the tokenizer of a base for plain text gets the template of its chat model."""
    parts = json.loads(shapes.byte_bpe().backend_tokenizer.to_str())
    parts["added_tokens"] = [token for token in parts["added_tokens"] if token["content"] != "<end_of_turn>"]
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(parts)), eos_token="</s>")
    words.chat_template = shapes.TEMPLATES["gemma"]
    count = len(words.encode("<end_of_turn>", add_special_tokens=False))
    (told,) = remarks(words, chat("How many oars?", "Four."))
    assert told.startswith("the chat template closes a turn with <end_of_turn>, which the vocabulary has as one token")
    assert f"reads as {count}" in told
    assert count > 1


def test_a_closing_of_another_models_template_is_told_and_one_of_plain_text_is_not() -> None:
    words = shapes.byte_bpe()
    words.chat_template = shapes.TEMPLATES["chatml"].replace("<|im_end|>", "<|stop|>")
    count = len(words.encode("<|stop|>", add_special_tokens=False))
    (told,) = remarks(words, chat("How many oars?", "Four."))
    assert told.startswith("the chat template closes a turn with <|stop|>, which is no token of this tokenizer and is")
    assert f"read as {count}:" in told
    words.chat_template = shapes.TEMPLATES["chatml"].replace("<|im_end|>", " [END]")
    assert remarks(words, chat("How many oars?", "Four.")) == []


def test_both_sides_of_a_pair_are_one_row() -> None:
    form = tiny.text_format(PLAIN)
    record = Preference("count the she", "ep", "eps", "r:1")
    (told,) = told_of(form, [record], ("chosen", "rejected"))
    assert "rows are so" not in told


def test_a_prompt_within_one_side_alone_is_told_too() -> None:
    form = tiny.text_format(PLAIN)
    record = Preference("Ask of me: c", "Ask of me: c d", "e", "r:1")
    (told,) = told_of(form, [record], ("chosen", "rejected"))
    assert "begins with the prompt again" in told


def test_a_token_across_the_seam_is_told() -> None:
    (told,) = remarks(PLAIN, ("count the she", "ep"))
    assert told.startswith("r:1: a token of the whole text stands across the seam")
    (told,) = remarks(PLAIN, ("count ", "the sheep"))
    assert told.endswith("let the completion begin with the white space that ends the prompt.")


def test_messages_without_a_template_and_a_template_with_a_date_are_told_once() -> None:
    assert remarks(PLAIN, chat("a", "b"), chat("c", "d")) == [NO_TEMPLATE]
    dated = templated("{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}")
    assert remarks(dated, chat("a", "b"), chat("c", "d")) == [DATED]
