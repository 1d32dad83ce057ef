"""What a Modelfile's template writes, by the few rules of Go's text/template that it uses."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TAG = re.compile(r"(\{\{.*?\}\})", re.DOTALL)
Message = Mapping[str, str]


def execute(template: str, messages: Sequence[Message], prompt: str = "") -> str:
    """As Ollama does: `.System` is what system turns say."""
    system = "\n\n".join(one["content"] for one in messages if one["role"] == "system")
    root = {"Messages": list(messages), "System": system, "Prompt": prompt}
    pieces = iter(TAG.split(template))
    written, end = _block(pieces, root)
    assert end is None
    return written


def _block(pieces: Iterator[str], dot: Any) -> tuple[str, str | None]:
    """Text up to the `end` of a block."""
    written = ""
    for piece in pieces:
        if not piece.startswith("{{"):
            written += piece
            continue
        words = piece[2:-2].strip()
        if words == "end":
            return written, words
        if words.startswith("range "):
            inside = list(_inside(pieces))
            written += "".join(_block(iter(inside), item)[0] for item in _value(words.split()[1], dot))
        elif words.startswith("if "):
            inside = list(_inside(pieces))
            written += _block(iter(inside), dot)[0] if _holds(words[3:], dot) else ""
        else:
            written += str(_value(words, dot))
    return written, None


def _inside(pieces: Iterator[str]) -> Iterator[str]:
    """The pieces of a block, to its own `end`."""
    depth = 1
    for piece in pieces:
        words = piece[2:-2].strip() if piece.startswith("{{") else ""
        depth += words.startswith(("if ", "range ")) - (words == "end")
        if not depth:
            return
        yield piece
    raise AssertionError("a block without an end")


def _holds(words: str, dot: Any) -> bool:
    kind, *rest = words.split()
    if kind == "not":
        return not _value(rest[0], dot)
    assert kind == "eq"
    return bool(_value(rest[0], dot) == _value(rest[1], dot))


def _value(word: str, dot: Any) -> Any:
    if word.startswith('"'):
        return word[1:-1]
    assert word.startswith(".")
    name = word[1:]
    return dot[name] if name in dot else dot[name.lower()]
