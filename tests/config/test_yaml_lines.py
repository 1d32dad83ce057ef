"""Entries move by the line; what is not touched stays as it was written."""

import pytest

from truing.config.dotted import NoSuchPlaceError
from truing.config.yaml_lines import has, insert, prepend, take_out, write_over

TEXT = """\
a: {b: 1, c: 2, d: 3}   # of a
e:
  # of f
  f: 4   # behind f
  g:
    - 5

h: 6
"""


@pytest.mark.parametrize(
    ("key", "line", "left", "entry"),
    [
        ("a.b", "a: {b: 1, c: 2, d: 3}   # of a\n", "a: {c: 2, d: 3}   # of a\n", ["b: 1"]),
        ("a.c", "a: {b: 1, c: 2, d: 3}   # of a\n", "a: {b: 1, d: 3}   # of a\n", ["c: 2"]),
        ("a.d", "a: {b: 1, c: 2, d: 3}   # of a\n", "a: {b: 1, c: 2}   # of a\n", ["d: 3"]),
        ("e.f", "  # of f\n  f: 4   # behind f\n", "", ["# of f", "f: 4   # behind f"]),
        ("e.g", "  g:\n    - 5\n", "", ["g:", "  - 5"]),
        ("h", "h: 6\n", "", ["h: 6"]),
    ],
)
def test_an_entry_is_taken_out_and_nothing_else(key: str, line: str, left: str, entry: list[str]) -> None:
    assert take_out(TEXT, key) == (TEXT.replace(line, left), entry)
    assert not has(take_out(TEXT, key)[0], key)


def test_a_section_that_is_left_empty_goes_with_its_comments() -> None:
    assert take_out("a: {b: 1}   # why\nc: 2\n", "a.b") == ("c: 2\n", ["b: 1   # why"])
    assert take_out("# why\na:\n  b: 1\nc: 2\n", "a.b") == ("c: 2\n", ["# why", "b: 1"])


@pytest.mark.parametrize(
    ("key", "line", "new"),
    [
        ("a.x", "d: 3}", "d: 3, x: 1}"),
        ("a.x.y", "d: 3}", "d: 3, x: {y: 1}}"),
        ("e.x", "    - 5\n", "    - 5\n  # why\n  x: 1   # because\n"),
        ("x.y", "h: 6\n", "h: 6\nx:\n  # why\n  y: 1   # because\n"),
    ],
)
def test_an_entry_is_put_in_as_the_last_of_its_section(key: str, line: str, new: str) -> None:
    assert insert(TEXT, key, ["# why", "old: 1   # because"]) == TEXT.replace(line, new)


def test_an_entry_has_no_place_in_what_is_no_section() -> None:
    with pytest.raises(NoSuchPlaceError, match=r"^h\.x has no section"):
        insert(TEXT, "h.x", ["x: 1"])
    with pytest.raises(NoSuchPlaceError, match="no line before which"):
        prepend("{a: 1}", "x: 1")
    with pytest.raises(NoSuchPlaceError, match="not YAML"):
        has("a: [", "a")


def test_a_line_comes_before_the_first_key_and_a_value_over_another() -> None:
    assert prepend(f"# head\n\n{TEXT}", "x: 1") == f"# head\n\nx: 1\n{TEXT}"
    assert write_over(TEXT, "e.f", "7") == TEXT.replace("f: 4", "f: 7")
