"""A Modelfile: how Ollama loads an exported model, asks it as it was trained, and draws as it was measured."""

from truing.data.chat import TextFormat
from truing.data.templates import decoded
from truing.export.turns import Turns, turns_of

NOT_SAID = (
    "its chat template does more than write printable text around turns, which is all that Ollama can say, so there is "
    "no Modelfile. llama.cpp reads the template that a GGUF file has in it: `llama-server -m model.gguf --jinja`."
)
NO_SYSTEM = "Its chat template takes no system turn, so Ollama leaves one out."
QUOTES = '"""'


def modelfile(form: TextFormat, in_messages: bool, model: str, temperature: float) -> tuple[str | None, list[str]]:
    """A Modelfile, and what is to be said of it; None where there can be none.

    Args:
        form: how the model reads text.
        in_messages: whether it was trained on messages.
        model: the GGUF file or the directory, as the Modelfile names it.
        temperature: that its answers were measured at.
    """
    turns = turns_of(form) if in_messages else None
    if in_messages and turns is None:
        return None, [NOT_SAID]
    template = "{{ .Prompt }}" if turns is None else go_template(turns)
    stops = [decoded(form.tokenizer, [token], special=True) for token in form.endings.tokens]
    if not all(_can_be_said(text) for text in (template, *stops)):
        return None, [NOT_SAID]
    drawn = {"temperature": f"{temperature:g}", "top_k": "0", "top_p": "1", "min_p": "0", "repeat_penalty": "1"}
    lines = [
        f"FROM {model}",
        f"TEMPLATE {QUOTES}{template}{QUOTES}",
        *(f"PARAMETER stop {_quoted(stop)}" for stop in stops),
        *(f"PARAMETER {name} {value}" for name, value in drawn.items()),
    ]
    notes = [NO_SYSTEM] if turns is not None and turns.system is None else []
    return "\n".join(lines) + "\n", notes


def go_template(turns: Turns) -> str:
    """The same in the language of Go's text/template, over Ollama's `.System` and `.Messages`."""
    around = {"system": turns.system, "user": turns.user, "assistant": turns.answer}
    written = "".join(
        f'{{{{ if eq .Role "{role}" }}}}{_literal(texts[0])}{{{{ .Content }}}}{_literal(texts[1])}{{{{ end }}}}'
        for role, texts in around.items()
        if texts is not None
    )
    opening = _literal(turns.opening)
    if opening and turns.system is not None:
        opening = f"{{{{ if not .System }}}}{opening}{{{{ end }}}}"
    return f"{opening}{{{{ range .Messages }}}}{written}{{{{ end }}}}"


def _can_be_said(text: str) -> bool:
    """Ollama's reader of Modelfiles ends a text at three quotes, and drops what cannot be printed."""
    return QUOTES not in text and all(sign.isprintable() or sign in "\n\r\t" for sign in text)


def _literal(text: str) -> str:
    """Text that a Go template writes as it is."""
    return text.replace("{{", '{{ "{{" }}')


def _quoted(text: str) -> str:
    return f"{QUOTES}{text}{QUOTES}" if '"' in text or "\n" in text else f'"{text}"'
