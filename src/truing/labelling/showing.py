"""Foreign text as HTML: Markdown and code as such, and nothing in it that runs, loads, or leads anywhere."""

from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from truing.core.text import visible

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
_MARKDOWN.disable(["link", "image", "autolink", "reference", "entity"])


def as_html(text: str) -> Markup:
    """Markdown without HTML, links and images, which stay as they are written; hidden characters are written out.

    What may be wider than its column can be reached, and so scrolled, by keyboard.
    """
    html = _MARKDOWN.render(visible(text))
    for wide in ("pre", "table"):  # written so by the renderer alone: in texts, < is escaped
        html = html.replace(f"<{wide}>", f'<{wide} tabindex="0">')
    return Markup(html)


def shown(content: Any) -> Markup:
    """A prompt or an answer: text, or turns one below the other, each with who speaks."""
    if isinstance(content, str):
        return as_html(content)
    return Markup("").join(_turn(turn) for turn in content)


def _turn(turn: dict[str, Any]) -> Markup:
    more = {key: value for key, value in turn.items() if key not in ("role", "content")}
    extra = Markup("<pre>{}</pre>").format(visible(repr(more))) if more else ""
    return Markup('<p class="speaker">{}</p>{}{}').format(turn["role"], as_html(turn["content"]), extra)
