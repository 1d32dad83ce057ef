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
    declared = [ids("</s>", "<|end|>")] if name == "phi3" else []  # it closes with two ends, and declares both
    found = endings_of(shapes.byte_bpe(name), declared)
    written = ids(*shapes.CLOSINGS[name])
    assert found.turn == written[:1]
    assert found.written == written
    assert found.text == ids("</s>")
    assert found.tokens == tuple(sorted({*found.turn, *ids("</s>")}))


def test_what_the_model_declares_ends_a_response_too_unless_it_is_a_piece_of_text() -> None:
    declared = [[*ids("</s>", "<|eot_id|>", "a"), 10**6]]
    assert endings_of(shapes.byte_bpe(), declared).tokens == tuple(sorted(ids("</s>", "<|eot_id|>")))


def test_ids_that_have_nothing_to_do_with_the_tokenizer_are_a_librarys_default() -> None:
    assert endings_of(shapes.byte_bpe(), [list(ids("<|im_start|>"))]).tokens == ids("</s>")
    assert endings_of(shapes.byte_bpe("gemma"), [list(ids("<end_of_turn>"))]).tokens == tuple(
        sorted(ids("</s>", "<end_of_turn>"))
    )


def test_a_tokenizer_that_splits_special_tokens_ends_a_turn_with_one_all_the_same() -> None:
    words = shapes.byte_bpe("chatml")
    whole = endings_of(words)
    words.split_special_tokens = True
    assert words.encode("<|im_end|>", add_special_tokens=False) != list(ids("<|im_end|>"))
    assert endings_of(words) == whole


def test_a_known_end_closes_a_turn_before_other_markers() -> None:
    words = shapes.byte_bpe()
    words.chat_template = "{% for m in messages %}{{ m.content }}<|end|></s>\n{% endfor %}"
    assert endings_of(words).turn == ids("</s>")
    words.chat_template = "{% for m in messages %}{{ m.content }}\n\n<|end|>{% endfor %}"
    words.add_tokens(["\n\n"])
    assert endings_of(words).turn == ids("<|end|>")
    assert endings_of(words).after == "\n\n"


def test_a_template_that_needs_a_system_turn_closes_turns_too() -> None:
    words = shapes.byte_bpe()
    words.chat_template = "{{ raise_exception('no') if messages[0].role != 'system' }}" + shapes.TEMPLATES["chatml"]
    assert endings_of(words).written == ids("<|im_end|>", "\n")


def test_a_tokenizer_without_a_template_closes_both_kinds_of_rows_with_eos() -> None:
    assert endings_of(shapes.byte_bpe()) == Endings(*[ids("</s>")] * 4, before=" ")


def test_a_template_that_writes_ordinary_text_alone_leaves_the_reward_model_without_eos() -> None:
    words = shapes.byte_bpe()
    words.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}!{% endfor %}"
    assert endings_of(words) == Endings(ids("</s>"), ids("</s>"), ids("</s>"), (), "assistant: ", "!")


def test_where_nothing_ends_a_response_there_is_nothing() -> None:
    words = shapes.byte_bpe()
    words.eos_token = None
    assert endings_of(words).tokens == endings_of(words).text == endings_of(words).turn == ()


def test_a_response_is_closed_as_rows_are_whatever_ended_it() -> None:
    (eos,), (turn,), (line,) = ids("</s>"), ids("<end_of_turn>"), ids("\n")
    found = endings_of(shapes.byte_bpe("gemma"))
    assert found.closed((5, eos), chat=True) == found.closed((5, turn), chat=True) == (5, turn, line)
    assert found.closed((5, turn), chat=False) == found.closed((5,), chat=False) == (5, eos)
