"""A run's rows are encoded once; what a stage is given of them is what its recipe says, and survives on disk."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config.dotted import assign
from truing.config.recipe import Recipe
from truing.config.variants import with_changes
from truing.core.errors import DataError, InputError
from truing.core.rows import TokenRows
from truing.data import chat, encode, prepared
from truing.data.chat import TextFormat, Written
from truing.data.columns import Taken
from truing.data.kept import load_prepared, prepared_key, save_prepared
from truing.data.prepared import Prepared, prepare
from truing.data.prompts import PromptSet

TOKENIZER = tiny.tokenizer()
SHOWN = [("ab", "c"), ("abcdefgh", "ij"), ("ab", "cdefgh"), ("xyz", "uvw"), ("q?", "rst"), ("mn", "opqrst"), ("k", "l")]
COMPARED = [
    ("ab", "cd", "e", 0.5),
    ("abcdefg", "h", "ij", None),
    ("xy", "cdefgh", "cdefgij", 2.0),
    ("xy", "u", "v", None),
    ("q?", "rrrrrrr", "s", 1.0),
    ("k", "l", "m", None),
]
OWN_SHOWN = [("ab", "held"), ("abcdefgh", "i")]
OWN_COMPARED = [("ab", "o", "p", None), ("abcdefgh", "i", "j", 1.5)]
SEVEN = {"data.max_length": 7, "data.heldout": 0.5, "rollout.max_new_tokens": 3, "evaluation.prompts": 2}


def recipe(place: Path, own: bool = False, **changes: Any) -> Recipe:
    """A recipe on these rows, whose held-out rows may have files of their `own`."""
    files: dict[str, Sequence[tuple[Any, ...]]] = {"demonstrations": SHOWN, "preferences": COMPARED}
    if own:
        files |= {"heldout_demonstrations": OWN_SHOWN, "heldout_preferences": OWN_COMPARED}
    columns = {2: ("prompt", "completion"), 4: ("prompt", "chosen", "rejected", "margin")}
    document = Recipe().model_dump() | {"stages": ["sft", "reward", "ppo", "dpo"]}
    for name, rows in files.items():
        written = [dict(zip(columns[len(row)], row, strict=True)) for row in rows]
        changes[f"data.{name}"] = {"path": str(tiny.write_rows(place / f"{name}.jsonl", written))}
    for key, value in (SEVEN | changes).items():
        assign(document, key, value)
    return Recipe.model_validate(document)


def text(tokens: Sequence[int]) -> str:
    """The letters, with $ for eos."""
    return "".join((tiny.LETTERS + "$")[token] for token in tokens)


def shown(*sides: TokenRows) -> str:
    """Line, prompt and completions of each row."""
    lines = [name.rpartition(":")[2] for name in sides[0].names]
    prompts = [text(prompt) for prompt in sides[0].prompts]
    responses = ["|".join(map(text, row)) for row in zip(*(side.responses for side in sides), strict=True)]
    return " ".join(f"{a}.{b}>{c}" for a, b, c in zip(lines, prompts, responses, strict=True))


def asked(prompts: PromptSet) -> tuple[str, str]:
    train, heldout = ([f"{one.text}={text(one.tokens)}" for one in side] for side in (prompts.train, prompts.heldout))
    return " ".join(train), " ".join(heldout)


@pytest.mark.parametrize(
    ("stages", "use", "told"), [(["reward"], False, 1), (["reward"], True, 0), (["dpo"], True, 1), (["sft"], False, 0)]
)
def test_margins_that_nothing_is_made_of_are_told(stages: list[str], use: bool, told: int, tmp_path: Path) -> None:
    given = recipe(tmp_path, stages=stages, **{"reward.use_margin": use})
    rows = prepare(given, tiny.text_format(TOKENIZER), 64)
    about = [remark for remark in rows.remarks if "`margin`" in remark]
    what = "`margin` changes nothing; reward.use_margin asks for it; 3 rows have one."
    assert about == [f"data.preferences: {tmp_path}/preferences.jsonl:1: {what}"] * told


@pytest.mark.parametrize(
    ("stages", "use", "idle"),
    [
        (["reward"], [], "reward"),
        (["reward"], ["reward"], None),
        (["reward", "dpo"], ["reward"], "dpo"),
        (["dpo", "simpo"], ["dpo"], "simpo"),
        (["sft"], [], None),
    ],
)
def test_shares_that_a_stage_makes_nothing_of_are_told(
    stages: list[str], use: list[str], idle: str | None, tmp_path: Path
) -> None:
    rows = [row | {"share": share} for row, share in zip(tiny.preferences(8), (1.0, 0.75, *[0.5] * 6), strict=True)]
    source = tiny.write_rows(tmp_path / "own.jsonl", rows)
    given = tiny.recipe(tmp_path, stages=stages, **{f"{stage}.use_share": True for stage in use})
    given = with_changes(given, {"data.preferences.path": str(source)})
    remarks = prepare(given, tiny.text_format(TOKENIZER), 64).remarks
    what = f"`share` changes nothing in {idle}; reward.use_share and dpo.use_share ask for it; 7 rows have one below 1."
    told = [f"data.preferences: {source}:2: {what}"] if idle else []
    assert [remark for remark in remarks if "`share`" in remark] == told


SPLIT = {
    "drop": (
        ("4.xyz>uvw$ 5.q?>rst$ 7.k>l$", "1.ab>c$"),
        ("1.ab>cd$|e$ 6.k>l$|m$", "4.xy>u$|v$"),
    ),
    "cut_prompt": (
        ("4.xyz>uvw$ 5.q?>rst$ 7.k>l$", "1.ab>c$ 2.efgh>ij$"),
        ("1.ab>cd$|e$ 2.defg>h$|ij$ 6.k>l$|m$", "4.xy>u$|v$"),
    ),
    "cut_completion": (
        ("4.xyz>uvw$ 5.q?>rst$ 7.k>l$", "1.ab>c$ 3.ab>cdefg 6.mn>opqrs"),
        ("1.ab>cd$|e$ 6.k>l$|m$", "4.xy>u$|v$ 5.q?>rrrrr|s$"),
    ),
}
"""(to learn from, held out) of demonstrations and of preferences. By hand from the rows, but for which are held out:
prompts ab, abcdefgh, mn and xy, q?."""
OWN = {
    "drop": (
        ("1.ab>c$ 4.xyz>uvw$ 5.q?>rst$ 7.k>l$", "1.ab>held$"),
        ("1.ab>cd$|e$ 4.xy>u$|v$ 6.k>l$|m$", "1.ab>o$|p$"),
    ),
    "cut_prompt": (
        ("1.ab>c$ 2.efgh>ij$ 4.xyz>uvw$ 5.q?>rst$ 7.k>l$", "1.ab>held$ 2.defgh>i$"),
        ("1.ab>cd$|e$ 2.defg>h$|ij$ 4.xy>u$|v$ 6.k>l$|m$", "1.ab>o$|p$ 2.defgh>i$|j$"),
    ),
    "cut_completion": (
        ("1.ab>c$ 3.ab>cdefg 4.xyz>uvw$ 5.q?>rst$ 6.mn>opqrs 7.k>l$", "1.ab>held$"),
        ("1.ab>cd$|e$ 4.xy>u$|v$ 5.q?>rrrrr|s$ 6.k>l$|m$", "1.ab>o$|p$"),
    ),
}
"""The same where the held-out rows have files of their own"""
PROMPTS = {
    "drop": ("ab=ab xyz=xyz mn=mn", "q?=q? k=k"),
    "cut_prompt": ("ab=ab abcdefgh=efgh q?=q? k=k", "xyz=xyz mn=mn"),
    "cut_completion": ("ab=ab xyz=xyz mn=mn", "q?=q? k=k"),
}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("policy", SPLIT)
def test_a_stage_is_given_the_rows_of_its_recipe_in_their_order(policy: str, own: bool, tmp_path: Path) -> None:
    given = recipe(tmp_path, own, **{"data.too_long": policy})
    rows = prepare(given, tiny.text_format(TOKENIZER), 64)
    demonstrations, preferences = rows.demonstrations(given), rows.preferences(given)
    assert (
        (shown(demonstrations.train), shown(demonstrations.heldout)),
        (
            shown(preferences.train.chosen, preferences.train.rejected),
            shown(preferences.heldout.chosen, preferences.heldout.rejected),
        ),
    ) == (OWN if own else SPLIT)[policy]
    assert asked(rows.prompts(given)) == PROMPTS[policy]
    margins = {f"{tmp_path}/preferences.jsonl:{line}": row[3] or 0.0 for line, row in enumerate(COMPARED, start=1)}
    assert preferences.train.margins == [margins[name] for name in preferences.train.names]
    assert demonstrations.train.pad == TOKENIZER.pad_token_id


def test_what_is_left_out_is_counted_for_the_rows_that_are_learnt_from(tmp_path: Path) -> None:
    given = recipe(tmp_path, own=True, **{"data.too_long": "cut_completion"})
    rows = prepare(given, tiny.text_format(TOKENIZER), 64)
    assert rows.preferences(given).report == (
        "4 of 6 rows kept, 1 of them cut; 1 dropped as too long, 1 dropped as identical pairs."
    )
    assert rows.prompts(given).report == "5 of 6 rows kept, 0 of them cut; 1 dropped as too long."


def test_rows_that_are_too_long_are_refused_when_they_are_asked_for(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    rows = prepare(given, tiny.text_format(TOKENIZER), 64)
    with pytest.raises(DataError, match=r"1 row does not fit into 7 tokens: .*preferences\.jsonl:2 \(prompt 7, which"):
        rows.preferences(given)
    with pytest.raises(DataError, match=r"1 row does not fit .*jsonl:2 \(prompt 8, which alone fills them\)"):
        rows.prompts(given)


def test_variants_share_the_rows_and_split_them_as_their_seed_and_settings_say(tmp_path: Path) -> None:
    given = recipe(tmp_path, **{"data.too_long": "drop"})
    rows = prepare(given, tiny.text_format(TOKENIZER), 64)
    splits = {shown(rows.demonstrations(given.model_copy(update={"seed": seed})).train) for seed in range(5)}
    assert len(splits) > 1
    more = given.model_copy(update={"rollout": given.rollout.model_copy(update={"max_new_tokens": 5})})
    assert {len(prompt.tokens) for prompt in rows.prompts(more).train} <= {1, 2}


def test_rows_that_the_recipe_does_not_name_are_refused(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    given = given.model_copy(update={"data": given.data.model_copy(update={"preferences": None})})
    with pytest.raises(DataError, match=r"the recipe names no preferences\. Set data\.preferences\.path"):
        prepare(given, tiny.text_format(TOKENIZER), 64).preferences(given)


def test_faulty_rows_are_refused_with_all_that_is_wrong_with_their_file(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    tiny.write_rows(tmp_path / "preferences.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "b"}] * 2)
    with pytest.raises(DataError, match=r"2 problems\.\n.*jsonl:1: `chosen` equals `rejected`"):
        prepare(given, tiny.text_format(TOKENIZER), 64)


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """How often each prompt and each completion is tokenised, from now on."""
    counts: Counter[Any] = Counter()
    write_prompt, write_answered = prepared.write_prompt, encode.write_answered

    def prompt(form: TextFormat, text: str) -> Written:
        counts[text] += 1
        return write_prompt(form, text)

    def answered(form: TextFormat, prompt: str, text: str, beginning: str) -> Written:
        counts[prompt, text] += 1
        return write_answered(form, prompt, text, beginning)

    monkeypatch.setattr(prepared, "write_prompt", prompt)
    monkeypatch.setattr(encode, "write_answered", answered)
    return counts


def test_a_prompt_is_tokenised_once_and_a_completion_once_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, counts = recipe(tmp_path, own=True, **{"data.too_long": "drop"}), counted(monkeypatch)
    rows = prepare(given, tiny.text_format(TOKENIZER), 64)
    for _ in range(4):
        rows.demonstrations(given)
        rows.preferences(given)
        rows.prompts(given)
    shown_rows, pairs = SHOWN + OWN_SHOWN, COMPARED + OWN_COMPARED
    completions = [*shown_rows, *((row[0], side) for row in pairs for side in row[1:3])]
    prompts = {row[0] for row in [*shown_rows, *pairs]}
    assert counts == Counter(completions) + Counter(prompts)


@pytest.mark.parametrize("chat_rows", [True, False])
def test_a_text_is_rendered_once_and_tokenised_once_checks_included(
    chat_rows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (tiny.chat_recipe if chat_rows else tiny.recipe)(tmp_path, stages=["dpo"])
    counts: Counter[str] = Counter()
    for name in ("render", "encoded"):
        function = getattr(chat, name)

        def counted(tokenizer: Any, said: Any, *rest: Any, made: Any = function, **options: Any) -> Any:
            counts[json.dumps(said)] += 1
            return made(tokenizer, said, *rest, **options)

        monkeypatch.setattr(chat, name, counted)
    tiny.prepared(given)
    texts = 3 * len(tiny.preferences())  # each prompt alone, and with either answer
    assert len(counts) == (2 * texts if chat_rows else texts)
    assert set(counts.values()) == {1}


def saved(place: Path, given: Recipe) -> tuple[Prepared, Path]:
    rows = prepare(given, tiny.text_format(TOKENIZER), 64)
    (place / "prepared").mkdir()
    save_prepared(rows, place / "prepared", "key")
    return rows, place / "prepared"


def test_what_was_saved_is_loaded_as_it_was(tmp_path: Path) -> None:
    rows, place = saved(tmp_path, recipe(tmp_path, own=True))
    assert load_prepared(place, "key") == rows


def test_conversations_are_loaded_as_they_were(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    turns = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    rows = [{"prompt": turns[first:], "completion": "yes"} for first in (0, 1)]
    tiny.write_rows(tmp_path / "demonstrations.jsonl", rows)
    before, place = saved(tmp_path, given)
    after = load_prepared(place, "key")
    assert after == before
    assert [len(prompt) for prompt in after.texts] == [2, 1]


def test_what_was_made_of_other_data_is_not_loaded(tmp_path: Path) -> None:
    _, place = saved(tmp_path, recipe(tmp_path))
    assert load_prepared(place, "other key") is None
    assert load_prepared(tmp_path / "nothing", "key") is None


@pytest.mark.parametrize(
    "name", ["demonstrations.jsonl", "preferences.jsonl", "prompts.jsonl", "settings.json", "prepared.json"]
)
@pytest.mark.parametrize("gone", [False, True])
def test_what_is_damaged_is_not_loaded(name: str, gone: bool, tmp_path: Path) -> None:
    _, place = saved(tmp_path, recipe(tmp_path))
    file = place / name
    if gone:
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    assert load_prepared(place, "key") is None


@pytest.mark.parametrize(("name", "text"), [("prepared.json", "[" * 100_000), ("settings.json", "[]")])
def test_what_is_of_another_shape_is_not_loaded(name: str, text: str, tmp_path: Path) -> None:
    _, place = saved(tmp_path, recipe(tmp_path))
    (place / name).write_text(text)
    manifest = json.loads((place / "prepared.json").read_text()) if name != "prepared.json" else None
    if manifest is not None:
        manifest["files"][name] = hashlib.sha256(text.encode()).hexdigest()
        (place / "prepared.json").write_text(json.dumps(manifest))
    assert load_prepared(place, "key") is None


def test_the_key_changes_with_whatever_the_rows_are_made_of_and_with_nothing_else(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    inputs = {"base": {"files": {"tokenizer.json": "1"}}, "data.preferences": {"sha256": "2"}, "functions": {"a": "3"}}
    key = prepared_key(given, inputs)
    for other in ({"base": {"files": {"tokenizer.json": "9"}}}, {"data.preferences": {"sha256": "9"}}):
        assert prepared_key(given, inputs | other) != key
    for changes in (
        {"data.transcripts": True},
        {"data.preferences.split": "test"},
        {"stages": ["sft"]},
        {"sft.data": "preferences"},
    ):
        assert prepared_key(changed(given, changes), inputs) != key
    for changes in ({"data.max_length": 9}, {"data.heldout": 0.2}, {"data.too_long": "drop"}, {"seed": 5}):
        assert prepared_key(changed(given, changes), inputs) == key
    assert prepared_key(given, inputs | {"functions": {"a": "9"}}) == key


def changed(given: Recipe, changes: dict[str, Any]) -> Recipe:
    document = given.model_dump()
    for key, value in changes.items():
        assign(document, key, value)
    return Recipe.model_validate(document)


RIGHT = "def right(prompts, responses, answer):\n    return [float(r == a) for r, a in zip(responses, answer)]\n"
ASKED = [
    {"prompt": "a+a=", "answer": "aa", "id": 1, "when": "now"},
    {"prompt": "b+b=", "answer": ["b", "b"], "id": 2},
    {"prompt": "a+a=", "answer": "aa", "id": 3, "when": "now"},
    {"prompt": "a+a=", "answer": "zz", "id": 4, "when": "now"},
    *({"prompt": f"{letter}?", "answer": letter, "id": 5} for letter in "cdefgh"),
]


def asking(place: Path, **changes: Any) -> Recipe:
    """A recipe whose reward reads a column of the prompts."""
    path = str(tiny.write_rows(place / "asked.jsonl", ASKED))
    (place / "own.py").write_text(RIGHT)
    source = {"kind": "function", "path": f"{place / 'own.py'}:right"}
    return changed(recipe(place), {"data.prompts": {"path": path}, "rewards.sources": [source], **changes})


def test_prompts_carry_the_columns_of_all_rows_and_those_that_differ_are_two(tmp_path: Path) -> None:
    given = asking(tmp_path, **{"data.max_length": 64, "evaluation.prompts": 5})
    rows, place = saved(tmp_path, given)
    prompts = rows.prompts(given)
    both = sorted([*prompts.train, *prompts.heldout], key=lambda one: (one.text, one.columns))
    assert [(one.text, json.loads(one.columns)) for one in both[:3]] == [
        ("a+a=", {"answer": "aa", "id": 3, "when": "now"}),
        ("a+a=", {"answer": "zz", "id": 4, "when": "now"}),
        ("b+b=", {"answer": ["b", "b"], "id": 2, "when": None}),
    ]
    again = f"{tmp_path}/asked.jsonl:4: is the prompt of {tmp_path}/asked.jsonl:3 with another `answer`, and asked too."
    assert f"prompts: {again}" in rows.remarks
    loaded = load_prepared(place, "key")
    assert loaded == rows
    assert loaded.prompts(given) == prompts


@pytest.mark.parametrize(
    ("taken", "answers"),
    [({"answer"}, ["aa", "zz"]), ({"when", "id"}, ["zz"]), (set(), ["zz"]), (None, ["aa", "zz"])],
    ids=["answer", "when", "nothing", "**columns"],
)
def test_columns_that_no_function_takes_make_no_prompt_of_their_own(
    taken: set[str] | None, answers: list[str], tmp_path: Path
) -> None:
    given = asking(tmp_path, **{"data.max_length": 64})
    columns = Taken(others=True) if taken is None else Taken(frozenset(taken))
    rows = prepare(given, tiny.text_format(TOKENIZER), 64, columns)
    found = [json.loads(row.columns) for row in rows.rows["prompts"] if rows.texts[row.prompt_index] == "a+a="]
    assert [row["answer"] for row in found] == answers
    assert any("is the prompt of" in remark for remark in rows.remarks) == (len(answers) > 1)


@pytest.mark.parametrize("seed", range(8))
def test_a_prompt_with_two_answers_is_held_out_with_both_or_learnt_from_with_both(seed: int, tmp_path: Path) -> None:
    given = asking(tmp_path, **{"data.max_length": 64, "evaluation.prompts": 4, "seed": seed})
    prompts = prepare(given, tiny.text_format(TOKENIZER), 64).prompts(given)
    train, heldout = ({one.text for one in side} for side in (prompts.train, prompts.heldout))
    assert (len(train), len(heldout), train & heldout) == (4, 4, set())
    assert len(prompts.train) + len(prompts.heldout) == 9


def test_without_a_function_a_prompt_is_asked_once_whatever_else_its_rows_say(tmp_path: Path) -> None:
    given = asking(tmp_path, **{"data.max_length": 64, "rewards.sources": [{"kind": "stage"}]})
    rows = prepare(given, tiny.text_format(TOKENIZER), 64)
    assert len(rows.rows["prompts"]) == 8
    assert {row.columns for row in rows.rows["prompts"]} == {""}
    inputs: dict[str, Any] = {}
    assert prepared_key(given, inputs) != prepared_key(asking(tmp_path), inputs)


TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]


def test_tools_that_no_model_is_shown_are_refused(tmp_path: Path) -> None:
    plain = tiny.recipe(tmp_path / "plain", **{"data.tools": TOOLS})
    with pytest.raises(InputError, match="the rows are plain text"):
        tiny.prepared(plain)
    unread = tiny.chat_recipe(tmp_path / "chat", **{"data.tools": TOOLS})
    with pytest.raises(InputError, match="makes nothing of tools"):
        tiny.prepared(unread)
