"""Entries of a YAML text taken out and put in elsewhere, by dotted key; all other lines stay as they were written.

An entry is a list of lines that begins at the margin: the comments right above its key, the key and its value. What
comes out may still mean something else where anchors or odd styles are involved: read it again and compare.
"""

import re
from textwrap import dedent, indent

import yaml

from truing.config.dotted import NoSuchPlaceError
from truing.config.yaml_text import compose, read_yaml, write_inline

_Entry = tuple[yaml.MappingNode, yaml.Node, yaml.Node]
"""A section, the name of one of its keys, and the value there"""


def has(text: str, key: str) -> bool:
    """Whether something is written at a dotted key."""
    return len(_way(text, key)) == len(key.split("."))


def take_out(text: str, key: str) -> tuple[str, list[str]]:
    """The text without what is written at a dotted key, and that entry.

    A section that is left empty goes too, and its comments with the entry.

    Raises:
        NoSuchPlaceError: it is an alias, whose value is written elsewhere.
    """
    section, name, value = _way(text, key)[-1]
    if value.start_mark.index < name.start_mark.index:
        raise NoSuchPlaceError(f"{key} is an alias of what is written before it.")
    if section.flow_style:
        entry, rest = [f"{name.value}: {_inline(text, value)}"], _without(text, section, name)
    else:
        lines = text.splitlines()
        first, last = _first_line(lines, name), _last_line(value)
        entry = dedent("\n".join(lines[first : last + 1])).splitlines()
        rest = _joined(lines[:first] + lines[last + 1 :])
    parent = key.rpartition(".")[0]
    if len(section.value) > 1 or not parent:
        return rest, entry
    rest, emptied = take_out(rest, parent)
    *above, line = emptied
    return rest, [*above, *entry[:-1], entry[-1] + line[len(line.partition(" #")[0].rstrip()) :]]


def insert(text: str, key: str, entry: list[str]) -> str:
    """The text with an entry as the last of its section, at a dotted key where nothing is; it takes that name.

    Raises:
        NoSuchPlaceError: what stands where its section should be is none.
    """
    *sections, name = key.split(".")
    way = _way(text, key)
    section = way[-1][2] if way else _nodes(text)
    if not isinstance(section, yaml.MappingNode):
        raise NoSuchPlaceError(f"{key} has no section that it could be written to.")
    entry = _renamed(entry, name)
    for part in reversed(sections[len(way) :]):
        entry = [f"{part}:", *(indent(line, "  ") for line in entry)]
    if section.flow_style:
        ((first, value),) = read_yaml("\n".join(entry)).value.items()
        before, after = text[: section.end_mark.index - 1], text[section.end_mark.index - 1 :]
        return f"{before.rstrip()}{', ' if section.value else ''}{first}: {write_inline(value)}{after}"
    margin = " " * section.value[0][0].start_mark.column
    lines, end = text.splitlines(), _last_line(section) + 1
    return _joined(lines[:end] + [indent(line, margin) for line in entry] + lines[end:])


def write_over(text: str, key: str, value: str) -> str:
    """The text with another value, in YAML, at a dotted key that is written."""
    node = _way(text, key)[-1][2]
    return text[: node.start_mark.index] + value + text[node.end_mark.index :]


def prepend(text: str, line: str) -> str:
    """The text with a line of its own before its first key."""
    document = _nodes(text)
    if not isinstance(document, yaml.MappingNode) or document.flow_style or not document.value:
        raise NoSuchPlaceError("the text has no line before which another could stand.")
    first = document.value[0][0].start_mark.line
    lines = text.splitlines()
    return _joined([*lines[:first], line, *lines[first:]])


def _nodes(text: str) -> yaml.Node | None:
    try:
        return compose(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise NoSuchPlaceError(f"what has become of the text is not YAML: {error}") from error


def _way(text: str, key: str) -> list[_Entry]:
    """The entries on the way to a dotted key, as far as they are written."""
    way: list[_Entry] = []
    here = _nodes(text)
    for part in key.split("."):
        if not isinstance(here, yaml.MappingNode):
            break
        found = next(((name, value) for name, value in here.value if name.value == part), None)
        if found is None:
            break
        way.append((here, *found))
        here = found[1]
    return way


def _without(text: str, section: yaml.MappingNode, name: yaml.Node) -> str:
    """The text without an entry of {a: 1, b: 2}, and without one comma."""
    index = [key for key, _ in section.value].index(name)
    start, end = name.start_mark.index, section.value[index][1].end_mark.index
    if index + 1 < len(section.value):
        end = section.value[index + 1][0].start_mark.index
    elif index:
        start = section.value[index - 1][1].end_mark.index
    return text[:start] + text[end:]


def _inline(text: str, value: yaml.Node) -> str:
    """A value as it is written, or on one line if it is written on several."""
    written = text[value.start_mark.index : value.end_mark.index]
    return write_inline(read_yaml(written).value) if "\n" in written else written


def _first_line(lines: list[str], name: yaml.Node) -> int:
    """That of a key, or of the comments right above that stand as far in."""
    first, comment = name.start_mark.line, " " * name.start_mark.column + "#"
    while first and lines[first - 1].startswith(comment):
        first -= 1
    return int(first)


def _last_line(node: yaml.Node) -> int:
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    end = node.end_mark
    return int(end.line - (end.column == 0 and end.line > node.start_mark.line))


def _renamed(entry: list[str], name: str) -> list[str]:
    index = next(index for index, line in enumerate(entry) if not line.startswith("#"))
    return [*entry[:index], re.sub(r"^[^:]+:", f"{name}:", entry[index]), *entry[index + 1 :]]


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
