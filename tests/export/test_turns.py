"""A chat template is put into turns only where it writes conversations as the turns do."""

import pytest
import tiny
from tokenizers.processors import TemplateProcessing

from truing.core.records import Message
from truing.data.chat import TextFormat, prompt_text
from truing.export.turns import Turns, turns_of

CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0].role == 'system' %}{% set said = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set said = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{% if message.role == 'user' %}[INST] {{ said if loop.first else '' }}"
    "{{ message.content }} [/INST]{% else %} {{ message.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
NO_SYSTEM = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}</{{ message.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
COUNTING = "{% for message in messages %}{{ loop.index }}:{{ message.content }};{% endfor %}"
SHOUTING = "{% for message in messages %}<{{ message.content | upper }}a>{% endfor %}"
FORGETTING = "{% for message in messages %}<{{ message.role }}>{{ message.content if loop.last else '' }}{% endfor %}"


def form(template: str) -> TextFormat:
    words = tiny.tokenizer()
    words.chat_template = template
    return tiny.text_format(words)


def conversations(system: bool) -> list[tuple[Message, ...]]:
    """Other ones than those that it is found by: of other lengths, and of texts that look like markup."""
    said = [("user", "a {{ b }}"), ("assistant", "c <d>"), ("user", "⟦Mark 0⟧"), ("assistant", ""), ("user", "e\n")]
    found = [tuple(Message(role, text) for role, text in said[:count]) for count in (1, 3, 5)]  # type: ignore[arg-type]
    return found + ([(Message("system", "be brief"), *one) for one in found] if system else [])


@pytest.mark.parametrize(("template", "system"), [(CHATML, True), (LLAMA_2, True), (NO_SYSTEM, False)])
def test_turns_write_what_the_template_writes(template: str, system: bool) -> None:
    words = form(template)
    turns = turns_of(words)
    assert turns is not None
    assert (turns.system is not None) == system
    for conversation in conversations(system):
        assert turns.written(conversation) == prompt_text(words, conversation)


def test_the_pieces_are_those_that_a_person_would_write() -> None:
    assert turns_of(form(CHATML)) == Turns(
        opening="<|im_start|>system\nBe kind.<|im_end|>\n",
        system=("<|im_start|>system\n", "<|im_end|>\n"),
        user=("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
        answer=("", "<|im_end|>\n"),
    )


@pytest.mark.parametrize("template", [COUNTING, SHOUTING, FORGETTING, "{{ 1 / 0 }}", "{% for %}"])
def test_a_template_that_does_more_is_not_put_into_turns(template: str) -> None:
    assert turns_of(form(template)) is None


@pytest.mark.parametrize("in_front", [False, True])
def test_bos_is_left_to_the_server_where_the_tokenizer_puts_it_in_front_of_every_text(in_front: bool) -> None:
    words = tiny.tokenizer()
    words.chat_template = "{% for message in messages %}<|end|>[{{ message.content }}]{% endfor %}"
    if in_front:
        special = [(tiny.EOS, words.eos_token_id)]
        words.backend_tokenizer.post_processor = TemplateProcessing(single=f"{tiny.EOS} $A", special_tokens=special)
    turns = turns_of(tiny.text_format(words))
    assert turns is not None
    said = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    assert turns.written(said) == "<|end|>[a]<|end|>[b]<|end|>[c]".removeprefix(tiny.EOS if in_front else "")
