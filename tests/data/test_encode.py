"""One token a letter and one for eos, so that lengths are counted by eye."""

import re
from collections.abc import Sequence
from functools import partial

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from tiny import EOS, LETTERS, tokenizer
from transformers import PreTrainedTokenizerFast

from truing.config.sections import Data
from truing.core.errors import DataError
from truing.core.records import Demonstration, Message, Preference, Prompt
from truing.data.chat import write_prompt
from truing.data.encode import EncodedRow, Record, encode_records, fit
from truing.data.length_report import ALIKE_HINT, NAMED, LengthReport, Limit

TOKENIZER = tokenizer()
FAR = 10_000
POLICIES = ["error", "drop", "cut_prompt", "cut_completion"]


def text(tokens: tuple[int, ...]) -> str:
    """The letters, with . for eos."""
    return "".join((LETTERS + ".")[token] for token in tokens)


def demonstration(prompt: str, completion: str) -> Demonstration:
    return Demonstration(prompt, completion, f"f:{prompt}")


Counts = dict[str, int]


def report(rows: int, kept: int, dropped: int = 0, cut: int = 0, identical: int = 0) -> Counts:
    return {"rows": rows, "kept": kept, "dropped": dropped, "cut": cut, "identical": identical}


def counts(told: LengthReport) -> Counts:
    identical = len(told.identical) + len(told.identical_once_cut)
    return report(told.rows, told.rows - told.left_out, len(told.dropped), len(told.cut), identical)


def data(policy: str, longest: int) -> Data:
    return Data.model_validate({"too_long": policy, "max_length": longest})


def fitted(
    records: Sequence[Record],
    given: Data,
    context: int = FAR,
    new: int = 0,
    named: int | None = NAMED,
    words: PreTrainedTokenizerFast = TOKENIZER,
) -> tuple[list[EncodedRow], LengthReport]:
    """The records as rows of tokens, under a length policy."""
    completions = {Demonstration: ("completion",), Preference: ("chosen", "rejected"), Prompt: ()}[type(records[0])]
    form = tiny.text_format(words)
    rows, refused = encode_records(records, completions, form, partial(write_prompt, form))
    assert refused == []
    return fit(rows, Limit(given, context, new, named), words.bos_token_id)


def refused(records: Sequence[Record], words: PreTrainedTokenizerFast) -> list[str]:
    """Why they cannot be encoded."""
    form = tiny.text_format(words)
    return [str(error) for error in encode_records(records, (), form, partial(write_prompt, form))[1]]


SHORT, EXACT, LONG_PROMPT, LONG_ANSWER = (
    demonstration(*pair) for pair in [("ab", "c"), ("abcd", "ef"), ("abcdefgh", "ij"), ("ab", "cdefgh")]
)
ROWS = [SHORT, EXACT, LONG_PROMPT, LONG_ANSWER]


@pytest.mark.parametrize(
    ("policy", "expected", "counted"),
    [
        ("drop", ["ab>c.", "abcd>ef."], report(4, 2, dropped=2)),
        # abcdefgh > ij. keeps 7 − 3 letters of the prompt; ab > cdefgh. has no room for a prompt at all.
        ("cut_prompt", ["ab>c.", "abcd>ef.", "efgh>ij."], report(4, 3, dropped=1, cut=1)),
        # abcdefgh alone fills 7; ab > cdefgh. keeps 5 letters and so does not close.
        ("cut_completion", ["ab>c.", "abcd>ef.", "ab>cdefg"], report(4, 3, dropped=1, cut=1)),
    ],
)
def test_what_becomes_of_longer_demonstrations(policy: str, expected: list[str], counted: Counts) -> None:
    rows, told = fitted(ROWS, data(policy, 7))
    assert [f"{text(row.prompt)}>{text(row.completions['completion'])}" for row in rows] == expected
    assert counts(told) == counted


@pytest.mark.parametrize("policy", POLICIES)
def test_rows_that_fit_are_left_as_they_are(policy: str) -> None:
    rows, told = fitted([SHORT, EXACT], data(policy, 7))
    assert [f"{text(row.prompt)}>{text(row.completions['completion'])}" for row in rows] == ["ab>c.", "abcd>ef."]
    assert counts(told) == report(2, 2)


@pytest.mark.parametrize(("longest", "context"), [(7, FAR), (FAR, 7)])
def test_longer_rows_are_named_with_their_lengths_and_the_hint(longest: int, context: int) -> None:
    with pytest.raises(DataError) as caught:
        fitted(ROWS, data("error", longest), context)
    named = "f:abcdefgh (prompt 8, which alone fills them), f:ab (prompt 2 + completion 7)"
    assert caught.value.what == f"2 rows do not fit into 7 tokens: {named}."
    raising = "Raise data.max_length (the model reads up to 10,000) or set data.too_long to drop or cut_prompt or cut_"
    assert str(caught.value.hint).startswith(raising if longest < context else "The model reads no more than 7 tokens")


def test_only_the_first_longer_rows_are_named() -> None:
    rows = [demonstration("a" * length, "b") for length in range(10, 18)]
    with pytest.raises(DataError, match="8 rows do not fit") as caught:
        fitted(rows, data("error", 7))
    assert len(re.findall("f:a+", caught.value.what)) == 5
    assert caught.value.what.endswith(", and 3 more; `truing validate` tells all.")
    with pytest.raises(DataError) as caught:
        fitted(rows, data("error", 7), named=None)
    assert len(re.findall("f:a+", caught.value.what)) == 8


@pytest.mark.parametrize("policy", ["drop", "cut_prompt", "cut_completion"])
def test_a_prompt_that_fills_the_context_leaves_nothing_to_learn(policy: str) -> None:
    rows = [demonstration("abcdefgh", "abcdefgh")]
    with pytest.raises(DataError, match="no row is left to learn from: 0 of 1 rows kept") as caught:
        fitted(rows, data(policy, FAR), 8)
    assert caught.value.where == "f:abcdefgh"


def test_a_cut_prompt_keeps_its_bos_and_its_end(with_bos: PreTrainedTokenizerFast) -> None:
    rows, told = fitted([LONG_PROMPT], data("cut_prompt", 7), words=with_bos)
    assert with_bos.convert_ids_to_tokens(rows[0].prompt) == ["<s>", "f", "g", "h"]
    assert counts(told) == report(1, 1, cut=1)
    with pytest.raises(DataError, check=lambda error: error.code == "data/no-rows-left"):
        fitted([LONG_PROMPT], data("cut_prompt", 4), words=with_bos)


PAIRS = [
    Preference("ab", "cd", "e", "f:1", 0.5),
    Preference("abcdefg", "h", "ij", "f:2", 1.5),
    Preference("ab", "cdefgh", "cdefgij", "f:3", 2.5),
    Preference("ab", "cdefghi", "j", "f:4", 3.5),
]


@pytest.mark.parametrize(
    ("policy", "expected", "counted"),
    [
        ("drop", ["ab>cd.|e."], report(4, 1, dropped=3)),
        # The longer side decides, and both sides keep the same prompt.
        ("cut_prompt", ["ab>cd.|e.", "defg>h.|ij."], report(4, 2, dropped=2, cut=1)),
        # cdefgh. and cdefgij. are the same once cut to five.
        ("cut_completion", ["ab>cd.|e.", "ab>cdefg|j."], report(4, 2, dropped=1, cut=1, identical=1)),
    ],
)
def test_what_becomes_of_longer_pairs(policy: str, expected: list[str], counted: Counts) -> None:
    rows, told = fitted(PAIRS, data(policy, 7))
    assert [
        f"{text(row.prompt)}>{text(row.completions['chosen'])}|{text(row.completions['rejected'])}" for row in rows
    ] == expected
    assert counts(told) == counted
    margins = {"ab>cd.|e.": 0.5, "defg>h.|ij.": 1.5, "ab>cdefg|j.": 3.5}
    assert [row.margin for row in rows] == [margins[row] for row in expected]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (
            "drop",
            [
                "left out, since 3 rows do not fit into 7 tokens: f:2 (prompt 7, which alone fills them), "
                "f:3 (prompt 2 + rejected 8), f:4 (prompt 2 + chosen 8)."
            ],
        ),
        (
            "cut_completion",
            [
                "cut to 7 tokens: f:4 (prompt 2 + chosen 8).",
                "left out, since 1 row does not fit into 7 tokens: f:2 (prompt 7, which alone fills them).",
                "left out, since `chosen` and `rejected` have the same tokens once cut: f:3.",
            ],
        ),
    ],
)
def test_pairs_that_are_left_out_are_named_with_the_reason(policy: str, expected: list[str]) -> None:
    _, told = fitted(PAIRS, data(policy, 7))
    hint = " Raise data.max_length (the model reads up to 10,000) or set data.too_long to "
    assert [sentence.partition(hint)[0] for sentence in told.remarks()] == expected


def test_where_every_pair_is_the_same_once_cut_the_mend_is_another_policy() -> None:
    pair = Preference("ab", "cdef", "cdeg", "f:1")
    with pytest.raises(DataError, match=r"no row is left to learn from.* 1 dropped as identical") as caught:
        fitted([pair], data("cut_completion", 5))
    assert str(caught.value.hint).endswith(" or set data.too_long to cut_prompt.")


def test_pairs_that_the_tokenizer_cannot_tell_apart_are_dropped_and_counted() -> None:
    pairs = [Preference("a", "ä", "ö", "f:1"), Preference("a", "b", "c", "f:2")]
    rows, told = fitted(pairs, data("error", 7))
    assert [text(row.completions["chosen"]) for row in rows] == ["b."]
    assert counts(told) == report(2, 1, identical=1)
    alike = "left out, since `chosen` and `rejected` have the same tokens: f:1."
    assert list(told.remarks()) == [f"{alike} {ALIKE_HINT}"]
    assert told.sentence() == "1 of 2 rows kept, 0 of them cut; 0 dropped as too long, 1 dropped as identical pairs."


@pytest.mark.parametrize(
    ("policy", "expected", "counted"),
    [
        ("drop", ["ab", "abcd"], report(3, 2, dropped=1)),
        ("cut_prompt", ["ab", "abcd", "bcde"], report(3, 3, cut=1)),
        ("cut_completion", ["ab", "abcd"], report(3, 2, dropped=1)),
    ],
)
def test_prompts_leave_room_for_an_answer(policy: str, expected: list[str], counted: Counts) -> None:
    prompts = [Prompt(prompt, f"f:{prompt}") for prompt in ("ab", "abcd", "abcde")]
    rows, told = fitted(prompts, data(policy, 7), new=3)
    assert [text(row.prompt) for row in rows] == expected
    assert [row.prompt_index for row in rows] == [0, 1, 2][: len(rows)]
    assert counts(told) == counted


def test_a_prompt_without_room_is_named() -> None:
    with pytest.raises(DataError, match=r"1 row does not fit into 7 tokens: f:1 \(prompt 5 \+ room for 3 new\)"):
        fitted([Prompt("abcde", "f:1")], data("error", 7), new=3)


WORDS = st.text("abc", min_size=1, max_size=12)


@given(
    st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=8), st.sampled_from(POLICIES[1:]), st.integers(3, 20)
)
def test_counts_add_up_and_nothing_longer_passes(
    triples: list[tuple[str, str, str]], policy: str, longest: int
) -> None:
    pairs = [Preference("a", "b", "c", "f:0"), *(Preference(*triple, "f:n") for triple in triples)]
    rows, told = fitted(pairs, data(policy, longest))
    assert told.rows == len(pairs) == len(rows) + told.left_out
    assert len(told.cut) <= len(rows)
    for row in rows:
        assert row.prompt
        assert row.completions["chosen"] != row.completions["rejected"]
        assert len(row.prompt) + max(len(row.completions["chosen"]), len(row.completions["rejected"])) <= longest


def test_the_row_that_a_template_refuses_is_named() -> None:
    made = tokenizer()
    made.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}x"
    rows = [Prompt((Message("user", "a"),), "f:1"), Prompt((Message("system", "s"), Message("user", "a")), "f:2")]
    (told,) = refused(rows, made)
    assert told.startswith("f:2: the chat template cannot render this conversation: no system turn")


def test_what_is_to_be_said_of_many_rows_is_said_once_with_how_many_there_are() -> None:
    made = tokenizer()
    made.chat_template = "{{ raise_exception('no ' + messages[0].content) }}"
    rows = [Prompt((Message("user", text),), f"f:{place}") for place, text in enumerate("aabab", start=1)]
    told = refused(rows, made)
    assert [sentence.partition(". ")[0] for sentence in told] == [
        "f:1: the chat template cannot render this conversation: no a; 3 rows are so",
        "f:3: the chat template cannot render this conversation: no b; 2 rows are so",
    ]


def test_a_prompt_of_which_nothing_is_left_is_named() -> None:
    made = tokenizer()
    made.chat_template = "{{ '' }}"
    (told,) = refused([Prompt((Message("user", "a"),), "f:1")], made)
    assert told.startswith("f:1: the tokenizer makes no token of the prompt")


def test_special_tokens_in_a_row_do_not_end_it() -> None:
    rows, _ = fitted([demonstration("a", f"b{EOS}c")], data("error", 99))
    end = TOKENIZER.eos_token_id
    assert rows[0].completions["completion"].count(end) == 1
    assert rows[0].completions["completion"][-1] == end
    assert len(rows[0].completions["completion"]) == len(f"b{EOS}c") + 1
