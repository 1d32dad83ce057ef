"""A chat template reaches the conversation and nothing else, and not for ever."""

import threading
import time

import pytest
import tiny
from transformers import PreTrainedTokenizerFast

from truing.core.errors import ModelError
from truing.core.records import Message
from truing.data import templates
from truing.data.chat import encode_prompt
from truing.data.templates import render

TURNS = [{"role": "user", "content": "hi"}]


def templated(template: str) -> PreTrainedTokenizerFast:
    made = tiny.tokenizer()
    made.chat_template = template
    return made


def test_a_template_that_does_not_end_is_ended_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "SECONDS", 0.2)
    endless = "{% for a in range(9999) %}" * 3 + "{% endfor %}" * 3
    begun = time.monotonic()
    with pytest.raises(ModelError, match=r"cannot render .*: it took more than 0\.2 seconds\. The rows are not"):
        encode_prompt(tiny.text_format(templated(endless)), (Message("user", "hi"),))
    assert time.monotonic() - begun < 5


def test_a_power_is_refused_and_two_asterisks_in_a_text_are_none() -> None:
    with pytest.raises(templates.TemplateError, match=r"raises to a power"):
        render(templated("{{ 9**9**9 }}"), TURNS, tiny.TODAY)
    assert render(templated("**{{ '**' + messages[0].content }}"), TURNS, tiny.TODAY) == "****hi"


def test_several_templates_need_one_called_default_or_for_tools() -> None:
    made = tiny.tokenizer()
    made.chat_template = {"tool_use": "{{ messages[0].content }} with tools", "rag": "x"}
    with pytest.raises(templates.TemplateError, match=r"several \(tool_use, rag\), and none is called default"):
        render(made, TURNS, tiny.TODAY)
    assert render(made, TURNS, tiny.TODAY, tools=[{"name": "look"}]) == "hi with tools"
    made.chat_template["default"] = "{{ messages[0].content }}"
    assert render(made, TURNS, tiny.TODAY) == "hi"


@pytest.mark.parametrize(
    "reach",
    [
        "{{ messages.__class__.__mro__[-1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ messages.append(1) }}",
        "{{ 'a'.__class__.__base__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
    ],
)
def test_a_template_reaches_nothing_outside(reach: str) -> None:
    with pytest.raises(ModelError, check=lambda error: error.code == "model/template-fails"):
        encode_prompt(tiny.text_format(templated(reach)), (Message("user", "hi"),))


def test_what_waited_for_the_alarm_before_waits_for_it_after() -> None:
    before = templates.signal.getsignal(templates.signal.SIGVTALRM)
    assert render(templated("{{ messages[0].content }}"), TURNS, tiny.TODAY) == "hi"
    assert templates.signal.getsignal(templates.signal.SIGVTALRM) is before
    assert templates.signal.getitimer(templates.signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_a_template_renders_in_another_thread_too() -> None:
    made: list[str] = []
    worker = threading.Thread(
        target=lambda: made.append(render(templated("{{ messages[0].content }}"), TURNS, tiny.TODAY))
    )
    worker.start()
    worker.join()
    assert made == ["hi"]
