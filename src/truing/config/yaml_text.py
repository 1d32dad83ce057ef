"""YAML text to plain values with the line each came from, and back.

The scalars are those of YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema): `1e-3` is a number,
and of the words only true, false and null are more than text, so `no`, `off` and `on` stay what they look like.
Anchors, aliases and `<<` work; tags that would build objects do not.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from truing.config.mistakes import Mistake

MOST_VALUES = 100_000
"""Values a file may grow to when its aliases are written out; nested aliases multiply."""

MOST_DIGITS = 30
"""Digits of a whole number; more are a slip of the keyboard."""

_RARE_BREAKS = frozenset("\x85\u2028\u2029")

_TAG = "tag:yaml.org,2002:"
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
        return self.represent_scalar(f"{_TAG}str", data, style='"' if _RARE_BREAKS.intersection(data) else None)


_Dumper.add_representer(str, _Dumper.represent_str)

for _kind, _pattern, _first in _CORE_SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)


@dataclass
class YamlText:
    """What a YAML text holds: its value, the line (from 1) of each dotted key, and the mistakes seen on the way."""

    value: Any = None
    lines: dict[str, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def read_yaml(text: str) -> YamlText:
    """Reads one YAML document. Never raises: what cannot be read is among the mistakes."""
    read = YamlText()
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        if node is not None:
            reader = _Reader(loader, read)
            reader.refuse_repeated_keys(node, "")
            read.value = reader.value(node, "")
    except yaml.YAMLError as error:
        read.mistakes.append(_syntax_mistake(error))
    except RecursionError:
        read.mistakes.append(Mistake("", "the text is nested too deeply, or an alias contains itself."))
    except _TooManyValuesError:
        read.mistakes.append(
            Mistake("", f"the text grows to more than {MOST_VALUES} values when its aliases are written out.")
        )
    return read


def write_yaml(value: Any) -> str:
    """The value as YAML in its own order, such that `read_yaml` gives it back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _TooManyValuesError(Exception):
    """An alias bomb."""


class _Reader:
    """Walks the nodes of one document."""

    def __init__(self, loader: _Loader, read: YamlText) -> None:
        self._loader = loader
        self._read = read
        self._count = 0
        self._visited: set[int] = set()

    def refuse_repeated_keys(self, node: yaml.Node, key: str) -> None:
        """Looks through the whole tree, before merge keys are written out and bring lawful repetitions."""
        if id(node) in self._visited or isinstance(node, yaml.ScalarNode):
            return
        self._visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.refuse_repeated_keys(item, _join(key, index))
            return
        first: dict[str, int] = {}
        for name_node, value_node in node.value:
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else "?"
            if name in first and isinstance(name_node, yaml.ScalarNode):
                what = f"is written twice, first on line {first[name]}."
                self._fault(name_node, _join(key, name), what, "Keep one of the two.")
            first.setdefault(name, name_node.start_mark.line + 1)
            self.refuse_repeated_keys(value_node, _join(key, name))

    def value(self, node: yaml.Node, key: str) -> Any:
        """The plain value of a node that stands at this dotted key."""
        self._count += 1
        if self._count > MOST_VALUES:
            raise _TooManyValuesError
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.value(item, self._place(item, key, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and kind in _SCALARS:
            return self._scalar(node, key, kind)
        self._fault(node, key, f"has the tag {node.tag.replace(_TAG, '!!')}, which is not for recipes.", "Remove it.")
        return None

    def _mapping(self, node: yaml.MappingNode, key: str) -> dict[str, Any]:
        self._loader.flatten_mapping(node)
        result = {}
        for name_node, value_node in node.value:
            name = self._name(name_node, key)
            if name is not None:
                result[name] = self.value(value_node, self._place(name_node, key, name))
        return result

    def _name(self, node: yaml.Node, key: str) -> str | None:
        """The text of a key; None, and a mistake, when it is not text."""
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}str":
            return str(node.value)
        shown = node.value if isinstance(node, yaml.ScalarNode) else "a list or section"
        self._fault(node, key, f"has the key {shown}, which is not text.", "Write keys as words, in quotes if need be.")
        return None

    def _scalar(self, node: yaml.ScalarNode, key: str, kind: str) -> Any:
        try:
            return _SCALARS[kind](node.value)
        except (KeyError, ValueError):
            self._fault(node, key, f"{node.value[:60]!r} cannot be read as {_KINDS[kind]}.", "Write it out plainly.")
            return None

    def _place(self, node: yaml.Node, key: str, name: str | int) -> str:
        place = _join(key, name)
        self._read.lines[place] = node.start_mark.line + 1
        return place

    def _fault(self, node: yaml.Node, key: str, what: str, hint: str) -> None:
        self._read.mistakes.append(Mistake(key, what, hint, line=node.start_mark.line + 1))


def _join(key: str, name: str | int) -> str:
    return f"{key}.{name}" if key else str(name)


def _whole_number(text: str) -> int:
    if len(text.lstrip("+-")) > MOST_DIGITS:
        raise ValueError
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _real_number(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_KINDS = {"null": "null", "bool": "true or false", "int": "a whole number", "float": "a number"}
_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": _whole_number,
    "float": _real_number,
    "str": str,
}


_PLAINER = {
    "the node content": "a value",
    "'<stream end>'": "the end of the text",
    r"character '\t'": "a tab",
    r"'\t'": "a tab",
}
_SYNTAX_HINTS = {
    "a tab": "Indent with spaces.",
    "mapping values are not allowed": "Is the indentation even, and is text that holds ': ' in quotes?",
    "could not find expected ':'": "Is there a colon missing?",
}


def _syntax_mistake(error: yaml.YAMLError) -> Mistake:
    """PyYAML's complaint as a sentence with its line."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Mistake("", f"this is not YAML: {str(error).splitlines()[0]}.")
    problem = str(error.problem or error.context)
    if problem.startswith("but "):
        problem = f"{error.context}, {problem}"
    for term, plain in _PLAINER.items():
        problem = problem.replace(term, plain)
    hint = next((hint for sign, hint in _SYNTAX_HINTS.items() if sign in problem), "")
    mark = error.problem_mark or error.context_mark
    place = f", at column {mark.column + 1}" if mark else ""
    return Mistake("", f"this is not YAML: {problem}{place}.", hint, line=mark.line + 1 if mark else None)
