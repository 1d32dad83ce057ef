import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truing.config.yaml_text import MOST_VALUES, read_yaml, write_yaml

WORDS = [
    "no",
    "No",
    "NO",
    "yes",
    "on",
    "off",
    "y",
    "n",
    "1_000",
    "12:30:45",
    "2020-01-01",
    "0b1",
    "1e",
    ".",
    "=",
    "0o9",
]
SCALARS = [
    *((word, word) for word in WORDS),
    *((text, None) for text in ("~", "null", "Null", "NULL", "")),
    *((text, True) for text in ("true", "True", "TRUE")),
    *((text, False) for text in ("false", "False", "FALSE")),
    *(("0", 0), ("-19", -19), ("+12", 12), ("007", 7), ("0o7", 7), ("0o17", 15), ("0x3A", 58)),
    *(("1e-3", 0.001), ("1E3", 1000.0), ("0.", 0.0), ("-0.0", -0.0), (".5", 0.5), ("12e03", 12000.0), ("-2E+05", -2e5)),
    *((".inf", math.inf), ("-.Inf", -math.inf), ("+.INF", math.inf)),
]


@pytest.mark.parametrize(("text", "expected"), SCALARS)
def test_scalars_are_those_of_the_core_schema(text: str, expected: Any) -> None:
    """YAML 1.2.2, section 10.3."""
    read = read_yaml(f"key: {text}")
    assert not read.problems
    assert read.value == {"key": expected}
    assert type(read.value["key"]) is type(expected)


def test_not_a_number_is_read() -> None:
    assert math.isnan(read_yaml("a: .nan").value["a"])


def test_quoted_text_stays_text() -> None:
    assert read_yaml("""[ "1", 'true', "~", !!str 17 ]""").value == ["1", "true", "~", "17"]


def test_lines_count_from_one_and_name_every_key() -> None:
    read = read_yaml("# opening\na:\n  b: 1\n  c:\n  - x\n  - d: 2\n")
    assert read.lines == {"a": 2, "a.b": 3, "a.c": 4, "a.c.0": 5, "a.c.1": 6, "a.c.1.d": 6}


def test_anchors_and_merge_keys_work() -> None:
    read = read_yaml("base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\nsame: *b")
    assert not read.problems
    assert read.value["more"] == {"x": 1, "y": 3}
    assert read.value["same"] == {"x": 1, "y": 2}


def test_a_section_s_own_keys_win_over_what_it_merges_and_of_that_the_first() -> None:
    """https://yaml.org/type/merge.html"""
    read = read_yaml("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  z: 3\n  <<: [*a, *b]")
    assert not read.problems
    assert read.value["c"] == {"x": 1, "y": 1, "z": 3}
    assert {key: read.lines[f"c.{key}"] for key in "xyz"} == {"x": 1, "y": 1, "z": 4}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\nb: 2\na: 3", 3, "a: is written twice, first on line 1. Keep one of the two."),
        ("a:\n  b: 1\n  b: 2", 3, "a.b: is written twice, first on line 2. Keep one of the two."),
        ("- a: 1\n  a: 1", 2, "0.a: is written twice, first on line 1. Keep one of the two."),
        (
            "a:\n\tb: 1",
            2,
            r"this is not YAML: while scanning for the next token, found character '\t' that cannot start any token. "
            "Is it indented evenly, with spaces",
        ),
        (
            "a: [1,\n2",
            2,
            "this is not YAML: while parsing a flow sequence, expected ',' or ']', but got",
        ),
        ("a: 1\n b: 2", 2, "this is not YAML: mapping values are not allowed here. Is it indented evenly"),
        (
            "a: 1\n---\nb: 2",
            2,
            "this is not YAML: expected a single document in the stream, but found another document",
        ),
        ("a: 1\nb: *none", 2, "this is not YAML: found undefined alias 'none'."),
        ("a: \0", 0, "this is not YAML: unacceptable character"),
        ("a: 1\n17: 2", 2, "has the key 17, which is not text."),
        ("a: 1\n[x]: 2", 2, "has the key a list or section, which is not text."),
        ("a: !!python/name:os.system x", 1, "a: has the tag !!python/name:os.system, which is not for recipes."),
        ("a: !mine {}", 1, "a: has the tag !mine, which is not for recipes. Remove it."),
        ("a: !!int abc", 1, "a: 'abc' cannot be read as a whole number."),
        ("a: !!bool no", 1, "a: 'no' cannot be read as true or false."),
        (f"a: {'9' * 31}", 1, f"a: '{'9' * 31}' cannot be read as a whole number."),
        ("a: 1\nb: {<<: 3}", 2, "b: merges by << what is no section. Give << a section, or a list of sections."),
        ("a: &x [*x]", 0, "the text is nested too deeply, or an alias contains itself."),
        ("[" * 1500, 0, "the text is nested too deeply, or an alias contains itself."),
    ],
)
def test_what_cannot_be_read_is_reported_with_its_line(text: str, line: int, what: str) -> None:
    ((place, problem),) = read_yaml(text).problems
    assert f"{f'{problem.field}: ' if problem.field else ''}{problem}".startswith(what)
    assert place == line


def test_aliases_do_not_multiply_without_end() -> None:
    """The billion laughs: ten to the ninth values in ten lines."""
    levels = [f"l{depth}: &l{depth} [{', '.join([f'*l{depth - 1}'] * 10)}]" for depth in range(1, 10)]
    ((_, problem),) = read_yaml("\n".join(["l0: &l0 [1]", *levels])).problems
    assert f"more than {MOST_VALUES} values" in problem.what


PLAIN = st.none() | st.booleans() | st.integers(-(10**29), 10**29) | st.floats(allow_nan=False) | st.text()
TREES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@given(TREES)
def test_what_is_written_reads_back_equal_and_of_the_same_types(value: Any) -> None:
    read = read_yaml(write_yaml(value))
    assert not read.problems
    assert repr(read.value) == repr(value)


@given(st.text())
def test_any_text_is_read_or_complained_about(text: str) -> None:
    read = read_yaml(text)
    assert read.value is None or not any("not YAML" in problem.what for _, problem in read.problems)
