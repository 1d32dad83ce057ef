"""Expected tokens are written by hand: what the template puts behind the policy's turn, one token a character."""

from typing import Any

import pytest
import tiny
from data.test_chat import CHAT, PLAIN, special, spelt, templated, turns

from truing.core.errors import ModelError
from truing.core.records import Message
from truing.data.chat import TextFormat, encode_completion, encode_prompt
from truing.data.observations import calls_in, observation_tokens

HERMES = (
    "{% if tools %}<|turn|>system\n{{ tools | tojson }}<|end|>\n{% endif %}"
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls %}<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
LLAMA = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n"
    "{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one at once') }}{% endif %}"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
MISTRAL = (
    "{% for m in messages %}{% if m.tool_calls %}[TOOL_CALLS] [{% for call in m.tool_calls %}"
    "{% if call.id | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif %}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}'
    "{% endfor %}]<|end|>{% elif m.role == 'assistant' %}{{ m.content }}<|end|>"
    "{% else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}"
)
THINKING = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and not loop.last %}...{% else %}{{ m.content }}{% endif %}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
OPENING = HERMES.replace(
    "{{ m.content }}", "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}"
)
"""As Qwen 3's: an empty thought in the last turn, and in no other"""
TOOLS = '[{"type": "function", "function": {"name": "add"}}]'
DEEP = "[" * 900 + "]" * 900
"""What can still be read, and not be sent on within something else"""
ASKED = turns("what is 1+1?")


def with_tools(template: str, tools: str = "[]") -> TextFormat:
    form = tiny.text_format(templated(template))
    return TextFormat(form.tokenizer, form.endings, form.today, tools)


def test_what_is_said_follows_the_turns_end_as_the_template_writes_it() -> None:
    turn, end = special(CHAT, "<|turn|>"), special(CHAT, "<|end|>")
    said = observation_tokens(tiny.text_format(CHAT), ASKED, [Message("user", "no")])
    assert said == spelt(CHAT, "\n", turn, "user\nno", end, "\n", turn, "assistant\n")


def test_an_episode_has_the_tokens_of_the_whole_conversation() -> None:
    form, talk = tiny.text_format(CHAT), turns("what is 1+1?", "3", "no", "2")
    answer = encode_completion(form, talk[:1], talk[1:2])
    between = observation_tokens(form, talk[:1], talk[2:3])
    assert encode_prompt(form, talk[:1]) + answer + between == encode_prompt(form, talk[:3])


def test_plain_text_goes_on_as_it_is() -> None:
    said = observation_tokens(tiny.text_format(PLAIN), "guess: ", [Message("user", "higher ")])
    assert said == spelt(PLAIN, "higher ")


def test_a_special_token_that_the_environment_spells_out_is_ordinary_text() -> None:
    end = special(CHAT, "<|end|>")
    said = observation_tokens(tiny.text_format(CHAT), ASKED, [Message("user", "<|end|>")])
    assert said.count(end) == 1


def test_a_template_that_changes_earlier_turns_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        observation_tokens(with_tools(THINKING), ASKED, [Message("user", "no")])
    assert caught.value.problem.code == "model/template-changes-turns"


def test_what_a_template_writes_before_the_last_answer_alone_is_no_change_of_it() -> None:
    form = with_tools(OPENING)
    turn, end = special(form.tokenizer, "<|turn|>"), special(form.tokenizer, "<|end|>")
    said = observation_tokens(form, ASKED, [Message("user", "no")])
    assert said == spelt(form.tokenizer, "\n", turn, "user\nno", end, "\n", turn, "assistant\n")


@pytest.mark.parametrize(
    ("template", "written", "calls"),
    [
        (OPENING, '<think>\n1 and\n</think>\n\n<tool_call>{"name": "add", "arguments": {}}', [("add", {})]),
        (HERMES, '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>', [("add", {"a": 1})]),
        (
            HERMES,
            'both: <tool_call>{"name": "add", "arguments": {}}</tool_call><tool_call>{"name": "b", "arguments": {}}',
            [("add", {}), ("b", {})],
        ),
        (HERMES, '{"name": "add", "arguments": {"a": 1}}', []),
        (HERMES, '<tool_call>{"name": "add", "arguments": </tool_call>', []),
        (HERMES, '<tool_call>{"name": "add", "arguments": [1]}</tool_call>', []),
        (HERMES, '<tool_call>{"name": 3, "arguments": {}}</tool_call>', []),
        (LLAMA, '{"name": "add", "parameters": {"a": 1}}', [("add", {"a": 1})]),
        (LLAMA, 'I say {"name": "add", "parameters": {"a": 1}}', []),
        (MISTRAL, '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}, "id": "123456789"}]', [("add", {"a": 1})]),
        (THINKING, '<tool_call>{"name": "add", "arguments": {}}</tool_call>', []),
        (HERMES, "<tool_call>" + "[" * 100_000, []),
        (HERMES, f'<tool_call>{{"name": "add", "arguments": {{"a": {DEEP}}}}}', []),
        (HERMES, f'<tool_call>{{"name": "add", "arguments": "{{\\"a\\": {DEEP}}}"}}', []),
    ],
)
def test_calls_are_read_as_the_template_writes_them(template: str, written: str, calls: list[tuple[str, Any]]) -> None:
    form = with_tools(template)
    said = spelt(form.tokenizer, written) + form.endings.turn
    assert calls_in(form, said) == [{"name": name, "arguments": arguments} for name, arguments in calls]


@pytest.mark.parametrize("template", [HERMES, LLAMA, MISTRAL, OPENING])
def test_what_a_tool_says_follows_a_call(template: str) -> None:
    form = with_tools(template)
    said = form.tokenizer.decode(observation_tokens(form, ASKED, [Message("tool", "2")], called=True))
    assert "2" in said
    assert "tool" in said or "[INST]2[/INST]" in said
    assert "truing" not in said


def test_the_template_is_shown_the_tools_of_the_recipe() -> None:
    shown = with_tools(HERMES, TOOLS)
    assert '"name": "add"' in shown.tokenizer.decode(encode_prompt(shown, ASKED))
    assert '"name": "add"' not in shown.tokenizer.decode(encode_prompt(with_tools(HERMES), ASKED))
    assert shown.shows_tools
    assert not with_tools(LLAMA, TOOLS).shows_tools
