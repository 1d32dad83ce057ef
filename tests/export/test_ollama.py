"""A Modelfile's template writes, by Go's rules, what the tokenizer's chat template writes; stops are the model's."""

import re

import pytest
import tiny
from export.go_template import execute
from export.test_turns import CHATML, COUNTING, LLAMA_2, NO_SYSTEM, conversations

from truing.data.chat import TextFormat, prompt_text
from truing.export.ollama import NO_SYSTEM as NO_SYSTEM_NOTE
from truing.export.ollama import NOT_SAID, modelfile

BRACES = "{% for message in messages %}{{ '{{' }}{{ message.content }}{{ '}} \"' }}{% endfor %}"


def form(template: str) -> TextFormat:
    words = tiny.tokenizer()
    words.chat_template = template
    return tiny.text_format(words)


def template_of(text: str) -> str:
    found = re.search(r'^TEMPLATE """(.*?)"""$', text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("template", [CHATML, LLAMA_2, NO_SYSTEM, BRACES])
def test_the_template_writes_what_the_tokenizers_own_writes(template: str) -> None:
    words = form(template)
    text, notes = modelfile(words, True, "./model.gguf", 0.7)
    assert text is not None
    assert notes == ([NO_SYSTEM_NOTE] if template == NO_SYSTEM else [])
    for conversation in conversations(system=template != NO_SYSTEM):
        turns = [message.turn for message in conversation]
        assert execute(template_of(text), turns) == prompt_text(words, conversation)


def test_stops_and_draws_are_those_of_the_run() -> None:
    text, _ = modelfile(form(CHATML), True, "./model.gguf", 0.7)
    assert text is not None
    assert text.startswith("FROM ./model.gguf\n")
    parameters = dict(line.split(" ", 2)[1:] for line in text.splitlines() if line.startswith("PARAMETER "))
    assert parameters["stop"] == f'"{tiny.EOS}"'
    assert (parameters["temperature"], parameters["top_k"], parameters["top_p"]) == ("0.7", "0", "1")
    assert (parameters["min_p"], parameters["repeat_penalty"]) == ("0", "1")


def test_a_model_of_plain_text_is_given_the_prompt_as_it_is() -> None:
    text, notes = modelfile(form(CHATML), False, ".", 1.0)
    assert text is not None
    assert (text.splitlines()[0], notes) == ("FROM .", [])
    assert execute(template_of(text), [], prompt="{{ as it is }}") == "{{ as it is }}"


QUOTED = '{% for message in messages %}"""{{ message.content }}{% endfor %}'
HIDDEN = "{% for message in messages %}\u2060{{ message.content }}{% endfor %}"


@pytest.mark.parametrize("template", [COUNTING, QUOTED, HIDDEN])
def test_what_a_modelfile_cannot_say_is_told(template: str) -> None:
    assert modelfile(form(template), True, ".", 1.0) == (None, [NOT_SAID])
