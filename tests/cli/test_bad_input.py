"""What a person gives wrong ends with exit code 2 and one paragraph that says where and how to hint it."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.cli.chat import chat_command
from truing.config import load_recipe
from truing.core.errors import InputError
from truing.runs.directory import open_run


def _preference(place: Path, **row: str) -> Path:
    """Preferences whose third row is this one."""
    rows: list[Any] = tiny.preferences(6)
    tiny.write_rows(place / "preferences.jsonl", [*rows[:2], row, *rows[2:]])
    return place / "preferences.jsonl"


def _json(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def _remote_code(place: Path) -> None:
    (place / "base" / "own.py").write_text("raise SystemExit('ran')")
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    _json(place / "base" / "config.json", model_type="own", auto_map=auto_map)


def _reward(place: Path, body: str) -> None:
    (place / "own.py").write_text(f"def score(prompts, responses):\n    return {body}\n")


SCORED = {"stages": ["ppo"], "rewards.sources": [{"kind": "function", "path": "own.py:score"}]}
CLASSIFIED = {"stages": ["ppo"], "rewards.sources": [{"kind": "model", "path": "judge"}]}
CASES: dict[str, tuple[dict[str, Any], Callable[[Path], object], list[str]]] = {
    "a missing data file": (
        {},
        lambda place: (place / "preferences.jsonl").unlink(),
        ["preferences.jsonl: no such file.", "check the spelling"],
    ),
    "an empty data file": (
        {},
        lambda place: (place / "demonstrations.jsonl").write_text(""),
        ["demonstrations.jsonl: there are no rows in it.", "write the file again"],
    ),
    "a pair without one side": (
        {},
        lambda place: _preference(place, prompt="ab?", chosen="aa"),
        ["preferences.jsonl:3: `rejected` is missing.", "Every row needs one"],
    ),
    "a pair of equal sides": (
        {},
        lambda place: _preference(place, prompt="ab?", chosen="aa", rejected="aa"),
        ["preferences.jsonl:3: `chosen` equals `rejected`.", "Remove the row"],
    ),
    "an empty text": (
        {},
        lambda place: _preference(place, prompt="ab?", chosen="aa", rejected=""),
        ["preferences.jsonl:3: `rejected` is empty."],
    ),
    "a prompt longer than the context": (
        {},
        lambda place: tiny.write_rows(
            place / "demonstrations.jsonl", [*tiny.demonstrations(4), {"prompt": "e" * 70, "completion": "aha."}]
        ),
        ["demonstrations.jsonl:5 (prompt 70, which alone fills them)", "reads no more than 64 tokens"],
    ),
    "a base without a model": (
        {},
        lambda place: (place / "base" / "config.json").unlink(),
        ["base.path: ", "has no config.json that can be read", "A model's directory has"],
    ),
    "a base without weights": (
        {},
        lambda place: (place / "base" / "model.safetensors").unlink(),
        ["base.path: ", "holds no safetensors weights", "A model's directory has"],
    ),
    "a base without a tokenizer": (
        {},
        lambda place: (place / "base" / "tokenizer.json").unlink(),
        ["base: no tokenizer could be loaded from here", "base.path takes a directory"],
    ),
    "a base that runs its own code": (
        {},
        _remote_code,
        ["base: ", "wants to run Python code", "set base.trust_remote_code: true"],
    ),
    "a reward whose file is missing": (
        SCORED,
        lambda place: None,
        ["rewards.sources.0.path: own.py:score: there is no file own.py.", "check the spelling"],
    ),
    "a reward that cannot be imported": (
        SCORED,
        lambda place: (place / "own.py").write_text("import no_such_module\n"),
        ["own.py:score: cannot be imported", "module:function"],
    ),
    "a reward that returns too few": (
        SCORED,
        lambda place: _reward(place, "[1.0]"),
        ["own.py:score: was given 3 responses and returned 1.", "one number for each response"],
    ),
    "a reward that is no number": (
        SCORED,
        lambda place: _reward(place, "[float('nan')] * len(prompts)"),
        ["own.py:score: returned nan for the response", "each finite"],
    ),
    "a reward that raises": (
        SCORED,
        lambda place: _reward(place, "1 / 0"),
        ["own.py:score: raised ZeroDivisionError: division by zero.", "It was raised in "],
    ),
    "a judge of two labels": (
        CLASSIFIED,
        lambda place: tiny.classifier(place / "judge", labels=2),
        ["judge: the model has 2 labels; a reward model has one.", "num_labels: 1"],
    ),
    "a judge that is not there": (
        CLASSIFIED,
        lambda place: (place / "judge").mkdir(),
        ["rewards.sources.0.path: ", "has no config.json", "A model's directory has"],
    ),
    "pairs that are all under one prompt": (
        {},
        lambda place: tiny.write_rows(
            place / "preferences.jsonl", [row | {"prompt": "ab?"} for row in tiny.preferences(6)]
        ),
        ["preferences have only one prompt, too few to hold some out", "a file of their own"],
    ),
    "as many held-out prompts as prompts": (
        {"stages": ["ppo"], "evaluation.prompts": 24, "rewards.sources": SCORED["rewards.sources"]},
        lambda place: _reward(place, "[1.0] * len(prompts)"),
        [
            "demonstrations.jsonl: there are 24 different prompts, of which 24 are to be held out",
            "Lower evaluation.prompts",
        ],
    ),
}


def _complains(said: Any, told: list[str]) -> None:
    assert said.code == 2, said
    assert said.err.startswith("truing: ")
    assert "Traceback" not in said.err
    assert "\n\n" not in said.err.strip()
    assert [part for part in told if part not in said.err] == [], said.err


@pytest.mark.parametrize("case", CASES)
def test_bad_input_ends_with_2_and_says_where_and_how(case: str, truing: Any, tmp_path: Path) -> None:
    changes, spoil, told = CASES[case]
    recipe = tiny.recipe_file(tmp_path, **changes)
    text = recipe.read_text().replace("path: judge", f"path: {tmp_path / 'judge'}")
    recipe.write_text(text)
    spoil(tmp_path)
    _complains(truing("run", recipe, "--out", tmp_path / "run"), told)
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize(
    ("line", "code", "field", "number"),
    [
        ("ppo: {epoch: 3}", "recipe/unknown-key", "ppo.epoch", 1),
        ("ppo: {epochs: three}", "recipe/wrong-type", "ppo.epochs", 1),
        ("stages: [ppo, reward]", "recipe/stage-order", "stages", 1),
        ("seed: [", "recipe/yaml", None, 3),
    ],
)
def test_a_problem_of_a_recipe_names_its_line(
    line: str, code: str, field: str | None, number: int, truing: Any, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"{line}\nworld: {{}}\n")
    for command in (["run", recipe, "--out", tmp_path / "run"], ["validate", recipe]):
        said = truing(*command)
        assert (said.code, said.spots) == (2, [(code, field, f"{recipe}:{number}")])
    assert not (tmp_path / "run").exists()


def test_a_problem_of_an_override_is_named_by_the_override(truing: Any, tmp_path: Path) -> None:
    said = truing("run", "quickstart", "--out", tmp_path / "run", "--set", "ppo.kl.bata=1")
    assert said.spots == [("recipe/unknown-key", "ppo.kl.bata", "--set ppo.kl.bata=1")]
    assert said.err == "truing: --set ppo.kl.bata=1: there is no such key. Did you mean beta?\n"


def test_a_recipe_that_is_not_there_is_answered_with_those_that_are(truing: Any) -> None:
    said = truing("run", "no-such-recipe")
    assert (said.code, said.spots) == (2, [("recipe/no-such-file", None, "no-such-recipe")])
    assert "quickstart" in said.err


@pytest.mark.parametrize(("name", "meant"), [("quickstrat", "quickstart"), ("{place}/my.yml", "{place}/my.yaml")])
def test_a_recipe_of_a_like_name_is_asked_for(name: str, meant: str, truing: Any, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("name: mine")
    for command in ("run", "recipes"):
        said = truing(command, name.format(place=tmp_path))
        assert said.code == 2
        assert f"Did you mean {meant.format(place=tmp_path)}? Shipped recipes" in said.err


def test_a_base_that_cannot_be_quantised_here_is_told_before_anything_is_written(
    truing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    recipe = tiny.recipe_file(tmp_path, **{"base.quantize": "nf4"})
    _complains(truing("run", recipe, "--out", tmp_path / "run"), ["base.quantize: nf4 needs", "truing[quant]"])
    assert not (tmp_path / "run").exists()


def test_a_directory_with_another_run_is_left_as_it_is(truing: Any, tmp_path: Path) -> None:
    recipe, root = tiny.recipe_file(tmp_path, stages=["sft"]), tmp_path / "run"
    assert truing("run", recipe, "--out", root).code == 0
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    _complains(
        truing("run", recipe, "--out", root, "--set", "seed=18"), ["run: holds the run of another", "another --out"]
    )
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_directory_of_other_files_is_left_as_it_is(truing: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    said = truing("run", tiny.recipe_file(tmp_path), "--out", tmp_path / "mine")
    _complains(said, ["mine: holds files, but no run of truing", "another --out"])
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("command", ["report", "chat"])
def test_what_is_no_run_is_refused(command: str, truing: Any, tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine" / "ppo").mkdir(parents=True)
    _complains(truing(command, tmp_path / "nothing"), ["nothing: there is no such directory. Name a directory that"])
    _complains(truing(command, tmp_path / "runs"), ["runs: is no run: it has no run.json. Name a directory that"])
    (tmp_path / "recipe.yaml").write_text("name: mine")
    _complains(truing(command, tmp_path / "recipe.yaml"), ["recipe.yaml: is no directory. Name a directory that"])
    run = tmp_path / "runs" / "mine"
    (run / "run.json").write_text("{}")
    for near in (tmp_path / "runs", run / "ppo", tmp_path / "runs" / "mien"):
        said = truing(command, near)
        assert said.spots == [("run/no-run", None, str(near))]
        _complains(said, [f"Did you mean {run}?"])


def test_a_model_where_a_run_is_meant_is_told_as_no_run(truing: Any, tmp_path: Path) -> None:
    base, rows = tiny.directory(tmp_path / "base"), tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "a"}])
    for command in (["score", base, rows], ["sample", base, rows], ["export", base, "--to", tmp_path / "out"]):
        assert truing(*command).spots == [("run/no-run", None, str(base))]


def test_a_directory_where_a_recipe_is_meant_is_told_as_that_with_the_recipe_in_it(truing: Any, tmp_path: Path) -> None:
    assert truing("validate", tmp_path).spots == [("recipe/unreadable", None, str(tmp_path))]
    (tmp_path / "recipe.yaml").write_text("name: mine")
    _complains(truing("run", tmp_path), ["Is a directory.", f"Name the recipe in it: {tmp_path / 'recipe.yaml'}."])


def test_a_stage_of_a_run_that_has_finished_none_is_no_matter_of_choice(truing: Any, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", load_recipe(tiny.recipe_file(tmp_path))) as run:
        run.lineage.plan([("sft", "sft"), ("reward", "reward"), ("ppo", "ppo")])
    rows = tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "a"}])
    for command in (
        ["sample", run.root, rows],
        ["score", run.root, rows],
        ["export", run.root, "--to", tmp_path / "o"],
    ):
        _complains(truing(*command), ["None is yet: the command that began the run goes on with it."])


@pytest.mark.parametrize("command", ["compare", "judge"])
def test_a_file_that_cannot_be_written_is_told_before_there_is_anything_to_write(
    command: str, truing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a run is read, or a judge asked, which may be paid for."""
    for out in (tmp_path, tmp_path / "nowhere" / "found.json"):
        said = truing(command, tmp_path / "no run", tmp_path / "no run", "--out", out)
        assert (said.code, said.spots) == (2, [("run/unwritable", None, str(out))])
    monkeypatch.setattr(os, "access", lambda *_: False)  # the super-user may write anywhere
    said = truing(command, tmp_path / "no run", tmp_path / "no run", "--out", tmp_path / "found.json")
    assert said.spots == [("run/unwritable", None, str(tmp_path / "found.json"))]


@pytest.mark.parametrize("command", ["compare", "judge", "label"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_no_file_takes_the_place_of_a_link_or_a_pipe(command: str, kind: str, truing: Any, tmp_path: Path) -> None:
    """As /dev/null and /dev/stdout are, which whoever runs as the super-user would otherwise lose."""
    export, out = tmp_path / "export.json", tmp_path / "out.json"
    judged = {"type": "pairwise", "from_name": "c", "to_name": "answer1,answer2", "value": {"selected": "left"}}
    data = {"prompt": "a?", "answer1": "b", "answer2": "c"}
    export.write_text(json.dumps([{"data": data, "annotations": [{"result": [judged]}]}]))
    out.symlink_to(os.devnull) if kind == "link" else os.mkfifo(out)
    if command == "label":
        said = truing("label", export, "--convert", out)
    else:
        said = truing(command, tmp_path / "no run", tmp_path / "no run", "--out", out)
    assert (said.code, said.spots) == (2, [("run/unwritable", None, str(out))])
    assert out.is_symlink() if kind == "link" else out.is_fifo()


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_chat_with_nobody_is_refused(stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, stream, None)
        with pytest.raises(InputError) as refused:
            chat_command(tmp_path, None, 4, 1.0, trust=False)
    assert refused.value.code == "input/nobody-there"


@pytest.mark.parametrize("arguments", [["no-such-command"], ["run"], ["run", "quickstart", "--no-such-option"]])
def test_a_line_that_cannot_be_parsed_ends_with_2(arguments: list[str], truing: Any) -> None:
    said = truing(*arguments)
    assert said.code == 2
    assert "Usage: truing" in said.err
