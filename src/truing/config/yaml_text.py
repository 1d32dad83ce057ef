"""YAML text to plain values with the line each came from, and back.

The scalars are those of YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema): `1e-3` is a number,
and of the words only true, false and null are more than text, so `no`, `off` and `on` stay what they look like.
Anchors, aliases and `<<` work; tags that would build objects do not.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import yaml

from truing.core.errors import Problem

MOST_VALUES = 100_000
"""Values a file may grow to when its aliases are written out; nested aliases multiply."""

MOST_DIGITS = 30
"""Digits of a whole number; more are a slip of the keyboard."""

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_CORE_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
)


class _Loader(yaml.SafeLoader):
    """Builds the tree of nodes; `_Reader` turns it into values."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own class attribute


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either YAML 1.1 or 1.2 would take for more than text, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Between double quotes, where rare line breaks are escaped and so survive."""
        return self.represent_scalar(f"{_TAG}str", data, style='"' if re.search("[\x85\u2028\u2029]", data) else None)


_Dumper.add_representer(str, _Dumper.represent_str)

for _kind, _pattern, _first in _CORE_SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)


@dataclass
class YamlText:
    """What a YAML text holds: its value, the line (from 1) of each dotted key, and what is wrong with it."""

    value: Any = None
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[int, Problem]] = field(default_factory=list)
    """Each with its line; 0 for the text as a whole"""

    def refuse(self, line: int, key: str, what: str, hint: str | None = None) -> None:
        """Notes a problem."""
        self.problems.append((line, Problem("recipe/yaml", key or None, what, hint)))


def read_yaml(text: str) -> YamlText:
    """Reads one YAML document. Never raises: what cannot be read is among the problems."""
    read = YamlText()
    try:
        node = compose(text)
        read.value = None if node is None else _Reader(read).value(node, "")
    except yaml.MarkedYAMLError as error:
        what = ", ".join(part for part in (error.context, error.problem) if part)
        aside = isinstance(error, yaml.composer.ComposerError)  # a missing anchor, a second document
        hint = None if aside else "Is it indented evenly, with spaces, and text that holds ': ' in quotes?"
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        read.refuse(line, "", f"this is not YAML: {what}.", hint)
    except yaml.YAMLError as error:
        read.refuse(0, "", f"this is not YAML: {str(error).splitlines()[0]}.")
    except RecursionError:
        read.refuse(0, "", "the text is nested too deeply, or an alias contains itself.")
    return read


def write_yaml(value: Any) -> str:
    """The value as YAML in its own order, such that `read_yaml` gives it back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def write_inline(value: Any) -> str:
    """The same on one line, as it may stand behind a key."""
    text = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf, default_flow_style=True
    )
    return str(text).removesuffix("\n").removesuffix("\n...")


@lru_cache(maxsize=1)  # a run reads its recipe several times
def compose(text: str) -> yaml.Node | None:
    """The nodes of one YAML document, each with its place in the text. YAMLError or RecursionError as PyYAML's."""
    return yaml.compose(text, _Loader)


class _Reader:
    """Walks the nodes of one document."""

    def __init__(self, read: YamlText) -> None:
        self._read = read
        self._count = 0

    def value(self, node: yaml.Node, key: str) -> Any:
        """The plain value of a node that stands at this dotted key."""
        self._count += 1
        if self._count > MOST_VALUES:
            raise yaml.YAMLError(f"it grows to more than {MOST_VALUES} values when its aliases are written out")
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._section(node, key)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self._placed(item, item, _join(key, index)) for index, item in enumerate(node.value)]
        if not isinstance(node, yaml.ScalarNode) or kind not in _SCALARS:
            tag = node.tag.replace(_TAG, "!!")
            return self._fault(node, key, f"has the tag {tag}, which is not for recipes.", "Remove it.")
        meant, parse = _SCALARS[kind]
        try:
            return parse(node.value)
        except (KeyError, ValueError):
            return self._fault(node, key, f"{node.value[:60]!r} cannot be read as {meant}.", "Write it out plainly.")

    def _section(self, node: yaml.MappingNode, key: str) -> dict[str, Any]:
        """What `<<` merges goes first, so that the section's own keys win."""
        result: dict[str, Any] = {}
        first: dict[str, int] = {}
        for name_node, value_node in sorted(node.value, key=lambda pair: pair[0].tag != _MERGE):
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else "a list or section"
            place = _join(key, name)
            if name in first:
                what = f"is written twice, first on line {first[name]}."
                self._fault(name_node, place, what, "Keep one of the two.")
            first.setdefault(name, name_node.start_mark.line + 1)
            if name_node.tag == _MERGE:
                result |= self._merged(value_node, key)
            elif isinstance(name_node, yaml.ScalarNode) and name_node.tag == f"{_TAG}str":
                result[name] = self._placed(value_node, name_node, place)
            else:
                self._fault(name_node, key, f"has the key {name}, which is not text.", "Write keys as words.")
        return result

    def _merged(self, node: yaml.Node, key: str) -> dict[str, Any]:
        """The sections that `<<` names, the first of them winning."""
        result: dict[str, Any] = {}
        for part in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(part, yaml.MappingNode):
                result |= self.value(part, key) or {}
            else:
                self._fault(part, key, "merges by << what is no section.", "Give << a section, or a list of sections.")
        return result

    def _placed(self, node: yaml.Node, name_node: yaml.Node, key: str) -> Any:
        self._read.lines[key] = name_node.start_mark.line + 1
        return self.value(node, key)

    def _fault(self, node: yaml.Node, key: str, what: str, hint: str) -> None:
        self._read.refuse(node.start_mark.line + 1, key, what, hint)


def _join(key: str, name: str | int) -> str:
    return f"{key}.{name}" if key else str(name)


def _whole_number(text: str) -> int:
    if len(text.lstrip("+-")) > MOST_DIGITS:
        raise ValueError
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_SCALARS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "null": ("null", lambda text: None),
    "bool": ("true or false", lambda text: {"true": True, "false": False}[text.lower()]),
    "int": ("a whole number", _whole_number),
    "float": ("a number", lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))),
    "str": ("text", str),
}
