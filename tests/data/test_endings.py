"""What ends a turn, of the field's chat templates: written by hand here, behind each template."""

import pytest
import tokenizer_shapes as shapes

from truing.data.endings import Endings, endings_of

IDS = shapes.byte_bpe().convert_tokens_to_ids


def ids(*tokens: str) -> tuple[int, ...]:
    """Numbers of tokens of the byte-level tokenizer, in which a line break is Ċ."""
    return tuple(IDS(["Ċ" if token == "\n" else token for token in tokens]))


@pytest.mark.parametrize("name", shapes.TEMPLATES)
def test_a_turn_ends_with_what_the_template_writes(name: str) -> None:
    found = endings_of(shapes.byte_bpe(name))
    written = ids(*shapes.CLOSINGS[name])
    assert found.turn == written[:1]
    assert found.written == written
    assert found.text == ids("</s>")
    assert found.tokens == tuple(sorted({*found.turn, *ids("</s>")}))


def test_what_the_model_declares_ends_a_response_too_unless_it_is_a_piece_of_text() -> None:
    declared = [*ids("<|eot_id|>", "a"), 10**6]
    assert endings_of(shapes.byte_bpe(), declared).tokens == tuple(sorted(ids("</s>", "<|eot_id|>")))


def test_a_tokenizer_without_a_template_closes_both_kinds_of_rows_with_eos() -> None:
    assert endings_of(shapes.byte_bpe()) == Endings(*[ids("</s>")] * 4)


def test_a_template_that_writes_ordinary_text_alone_leaves_the_reward_model_without_eos() -> None:
    words = shapes.byte_bpe()
    words.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}!{% endfor %}"
    assert endings_of(words) == Endings(ids("</s>"), ids("</s>"), ids("</s>"), ())


def test_where_nothing_ends_a_response_there_is_nothing() -> None:
    words = shapes.byte_bpe()
    words.eos_token = None
    assert endings_of(words) == Endings((), (), (), ())


def test_a_response_is_closed_as_rows_are_whatever_ended_it() -> None:
    (eos,), (turn,), (line,) = ids("</s>"), ids("<end_of_turn>"), ids("\n")
    found = endings_of(shapes.byte_bpe("gemma"))
    assert found.closed((5, eos), chat=True) == found.closed((5, turn), chat=True) == (5, turn, line)
    assert found.closed((5, turn), chat=False) == found.closed((5,), chat=False) == (5, eos)
