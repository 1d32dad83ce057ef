"""`truing validate` sees in seconds what would otherwise end a run, and tells all of it at once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from rewards.llm_server import serving

from truing.config.sections import Source
from truing.data.read import READERS
from truing.estimate import estimator
from truing.estimate.dry_run import Usage
from truing.preflight.files import keys_in_the_clear


@pytest.fixture
def nothing_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rehearsal asks functions, environments and models, and takes no step: most of its time, for who reads none."""
    monkeypatch.setattr("truing.estimate.rehearsal._perform", lambda *_: None)


def test_a_sound_recipe_is_told_with_its_rows(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    said = truing("validate", recipe)
    assert said.code == 0
    *rows, rehearsed, sound = said.out.splitlines()
    assert rows == ["data.demonstrations: 24 rows are sound", "data.preferences: 24 rows are sound"]
    assert rehearsed.startswith("Rehearsed in ")
    assert sound == f"{recipe}: sound. Stages: sft, reward, ppo."
    assert said.err == ""


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_tracker_that_is_not_installed_is_told(
    command: str, truing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    out = ("--out", tmp_path / "run") if command == "run" else ()
    said = truing(command, tiny.recipe_file(tmp_path, track=["mlflow"]), *out)
    assert (said.code, said.spots) == (2, [("run/no-tracker", "track", None)])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["validate", "doctor", "run"])
def test_a_shard_that_one_process_does_not_make_is_told(
    command: str, truing: Any, tmp_path: Path, bare: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimator, "dry_run", lambda recipe, *_: dict.fromkeys(recipe.stages, Usage(1.0, 1.0, 1.0)))
    recipe = tiny.recipe_file(tmp_path, stages=["sft"], **{"compute.shard": True})
    said = truing(command, recipe, *(("--out", tmp_path / "run") if command == "run" else ()))
    assert said.code == 0
    assert said.out.count("compute.shard: true changes nothing in one process") == 1


@pytest.mark.parametrize(
    ("shape", "options", "code"),
    [
        ("gpt2", ("--processes", "2", "--tp", "2"), "model/not-cut"),
        ("llama", ("--processes", "4", "--pp", "4"), "model/few-layers"),
        ("llama", ("--processes", "2", "--pp", "2", "--set", "base.quantize=nf4"), "model/quantised-parts"),
        ("llama-in-groups", ("--processes", "2", "--tp", "2", "--set", "compute.shard=true"), "recipe/spread-twice"),
        ("llama", ("--processes", "3", "--tp", "2"), "recipe/odd-layout"),
    ],
)
@pytest.mark.parametrize("command", ["validate", "doctor"])
def test_a_launch_that_a_run_refuses_is_refused_before_anything_is_tried(
    command: str,
    shape: str,
    options: tuple[str, ...],
    code: str,
    truing: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("truing.estimate.rehearsal._perform", lambda *_: pytest.fail("it was tried"))
    monkeypatch.setattr(estimator, "prepare", lambda *_: pytest.fail("its rows were read"))
    said = truing(command, tiny.recipe_file(tmp_path, shape=shape), *options)
    assert (said.code, [found for found, _, _ in said.spots]) == (2, [code])


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_guard_with_few_judgements_is_told_before_anything_is_learnt(
    command: str, truing: Any, tmp_path: Path
) -> None:
    judge = {"kind": "pairs", "path": "letters:fewer_a"}
    guard = {"mode": "warn", "judge": judge, "look_every": 1, "labels": 4}
    reward = [{"kind": "function", "path": "letters:letter_a"}]
    recipe = tiny.recipe_file(tmp_path, stages=["ppo"], guard=guard, **{"rewards.sources": reward})
    said = truing(command, recipe, *(("--out", tmp_path / "run") if command == "run" else ()))
    assert said.code == 0
    before, sentence, _ = said.out.partition("ppo: 4 judgements are 2 a look")
    assert sentence
    assert "ppo: 2 steps" not in before


@pytest.mark.usefixtures("nothing_is_learnt")
@pytest.mark.parametrize("command", ["validate", "run"])
def test_each_file_is_parsed_once(command: str, truing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = READERS[".jsonl"]
    monkeypatch.setitem(READERS, ".jsonl", lambda *given: parsed.append(given[0].name) or parse(*given))
    out = ("--out", tmp_path / "run") if command == "run" else ()
    assert truing(command, tiny.recipe_file(tmp_path, stages=["sft", "dpo"]), *out).code == 0
    assert sorted(parsed) == ["demonstrations.jsonl", "preferences.jsonl"]


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_reward_that_is_not_there_is_told_beside_other_faults(command: str, truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    tiny.write_rows(tmp_path / "preferences.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "b"}])
    judges = ("--set", "evaluation.judges={taste: no_such_module:score}")
    out = ("--out", tmp_path / "run") if command == "run" else ()
    said = truing(command, recipe, *out, *judges)
    assert {problem.code for problem in said.problems} >= {"data/equal-sides", "rewards/not-imported"}
    if command == "validate":
        said = truing(command, recipe, *judges, "--set", "ppo.kl.beta=-1")
        assert {problem.field for problem in said.problems} >= {"ppo.kl.beta", "chosen"}
        assert "rewards/not-imported" in {problem.code for problem in said.problems}


def test_all_faults_are_told_together(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    (tmp_path / "base" / "config.json").unlink()
    (tmp_path / "demonstrations.jsonl").unlink()
    tiny.write_rows(tmp_path / "preferences.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "b"}])
    said = truing("validate", recipe)
    assert said.code == 2
    for told in ("base.path: ", "demonstrations.jsonl: no such file", "preferences.jsonl:1: `chosen` equals"):
        assert told in said.err


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("no/such/directory", "is no directory. Give a model's directory or a Hub id."),
        ("/no-such-directory", "is no directory."),
        ("a" * 300, "is no directory."),
        ("{place}/demonstrations.jsonl", "is no directory."),
        ("{place}", "has no config.json that can be read, so it holds no model."),
    ],
)
def test_a_base_that_is_no_model_is_named(path: str, told: str, truing: Any, tmp_path: Path) -> None:
    given = path.format(place=tmp_path)
    said = truing("validate", tiny.recipe_file(tmp_path), "--set", f"base.path={given}")
    assert said.code == 2
    assert f"base.path: {given}: {told}" in said.err


def test_a_missing_gguf_file_is_named(truing: Any, tmp_path: Path) -> None:
    said = truing("validate", tiny.recipe_file(tmp_path), "--set", "base.gguf_file=model.gguf")
    assert said.code == 2
    assert "base: holds no model.gguf. Correct base.gguf_file." in said.err


def test_a_hub_id_is_left_to_the_run(truing: Any, tmp_path: Path) -> None:
    said = truing("validate", tiny.recipe_file(tmp_path), "--set", "base.path=someone/model")
    assert said.code == 0
    taken = "there is no directory someone/model, so base.path is taken for a Hub id"
    told = "the weights of that id are not on this machine; `truing run` looks for them on the Hub."
    *_, unchecked, sound = said.out.splitlines()
    assert unchecked == f"Row lengths were not checked, and nothing was rehearsed: {taken}, and {told}"
    assert sound.endswith(
        "recipe.yaml: sound as far as it could be checked without its base. Stages: sft, reward, ppo."
    )


@pytest.mark.parametrize(("path", "meant"), [("bsae", "base"), ("models/tiny", "models/tiny-1"), ("quite-other", None)])
def test_a_base_of_a_like_name_beside_the_recipe_is_asked_for(
    path: str, meant: str | None, truing: Any, tmp_path: Path
) -> None:
    tiny.directory(tmp_path / "models" / "tiny-1")
    said = truing("validate", tiny.recipe_file(tmp_path), "--set", f"base.path={path}")
    asked = [line for line in said.out.splitlines() if "Did you mean" in line]
    assert asked == (
        [f"base.path: there is no {path}. Did you mean the directory {tmp_path / meant}?"] if meant else []
    )


def test_a_base_whose_tokenizer_cannot_be_read_is_told(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    (tmp_path / "base" / "tokenizer.json").write_text("{")
    said = truing("validate", recipe)
    assert said.code == 2
    assert f"{tmp_path / 'base'}: no tokenizer could be loaded from here" in said.err


def test_a_base_that_brings_its_own_code_is_told_with_what_would_allow_it(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    config = tmp_path / "base" / "config.json"
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    config.write_text(json.dumps(own))
    said = truing("validate", recipe)
    assert said.code == 2
    assert "set base.trust_remote_code: true if you trust it" in said.err


def test_prompts_without_room_for_a_response_are_told_before_anything_is_trained(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    for command in (("validate", recipe), ("run", recipe, "--out", tmp_path / "run")):
        said = truing(*command, "--set", "rollout.max_new_tokens=61")
        assert said.code == 2
        assert "(prompt 4 + room for 61 new)" in said.err
    assert not (tmp_path / "run").exists()


def test_too_few_prompts_are_told_before_anything_is_trained(truing: Any, tmp_path: Path) -> None:
    said = truing("validate", tiny.recipe_file(tmp_path), "--set", "evaluation.prompts=24")
    assert said.code == 2
    assert "there are 24 different prompts, of which 24 are to be held out" in said.err
    assert "Lower evaluation.prompts or give more prompts." in said.err


def test_held_out_rows_that_are_learnt_from_are_told(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    said = truing("validate", recipe, "--set", f"data.heldout_preferences.path={tmp_path / 'preferences.jsonl'}")
    assert said.code == 2
    assert "preferences.jsonl:1: 24 of 24 held-out preferences are learnt from as well" in said.err


def test_a_fault_of_rows_that_have_a_held_out_file_is_told_once(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    own = tiny.write_rows(tmp_path / "own.jsonl", tiny.preferences(2))
    tiny.write_rows(tmp_path / "preferences.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "b"}])
    said = truing("validate", recipe, "--set", f"data.heldout_preferences.path={own}")
    assert said.code == 2
    assert said.err.count("`chosen` equals") == 1


@pytest.mark.parametrize(
    ("wrong", "problems"),
    [
        (
            "data.preferences=null",
            [("recipe/no-rows", "data"), ("recipe/heldout-alone", "data.heldout_preferences")],
        ),
        ("data.preferences.path=5", [("recipe/wrong-type", "data.preferences.path")]),
    ],
)
def test_a_held_out_file_without_one_to_learn_from_is_a_problem_of_the_recipe(
    wrong: str, problems: list[tuple[str, str]], truing: Any, tmp_path: Path
) -> None:
    own = tiny.write_rows(tmp_path / "own.jsonl", tiny.preferences(2))
    recipe = tiny.recipe_file(tmp_path, **{"data.heldout_preferences": {"path": str(own)}})
    said = truing("validate", recipe, "--set", wrong)
    assert (said.code, [(code, field) for code, field, _ in said.spots]) == (2, problems)


def test_what_is_odd_is_told_beside_faults(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    rows = [{"promt": "a?", "chosen": "x", "rejected": "y"}, *tiny.preferences(4)]
    tiny.write_rows(tmp_path / "preferences.jsonl", rows)
    said = truing("validate", recipe)
    assert said.code == 2
    assert "preferences.jsonl:1: `chosen` shares no beginning" in said.err
    assert "preferences.jsonl:1: `promt` is not read; did you mean `prompt`?" in said.out


def test_a_problem_of_the_recipe_brings_none_of_its_defaults(truing: Any, tmp_path: Path) -> None:
    said = truing("validate", tiny.recipe_file(tmp_path), "--set", "ppo.bogus=1")
    assert said.code == 2
    assert said.spots == [("recipe/unknown-key", "ppo.bogus", "--set ppo.bogus=1")]
    assert said.out.splitlines()[-1].startswith("Fix the recipe first")


def test_text_that_a_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    rows = [*tiny.preferences(4), {"prompt": "q?", "chosen": "aa", "rejected": "zz", "\u00e9": "1"}]
    tiny.write_rows(tmp_path / "preferences.jsonl", rows)
    not_fetched = "base.path=someone/model"  # so that no library for models is imported
    command = [sys.executable, "-m", "truing", "validate", str(recipe), "--set", not_fetched]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=True)
    assert b"`\\xe9` is not read" in done.stdout


def test_every_fault_is_told_and_not_the_first_alone(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path)
    rows = [{"prompt": "e" * 70, "chosen": "aa", "rejected": "zz"} for _ in range(30)]
    rows += [{"prompt": "a?", "chosen": "b", "rejected": "b"} for _ in range(30)]
    file = tiny.write_rows(tmp_path / "preferences.jsonl", rows)
    said = truing("validate", recipe, "--set", "data.heldout=0.5")
    assert said.code == 2
    assert all(f"{file}:{row} (prompt 70" in said.err for row in range(1, 31))
    assert all(f"{file}:{row}: `chosen` equals" in said.err for row in range(31, 61))
    brief = truing("run", recipe, "--out", tmp_path / "run")
    assert "... and 10 more. `truing validate` tells all." in brief.err


@pytest.mark.usefixtures("nothing_is_learnt")
@pytest.mark.parametrize(("policy", "told"), [("drop", "30 rows do not fit into "), ("cut_prompt", "cut to ")])
def test_rows_that_nobody_has_to_correct_are_counted_and_the_first_named(
    policy: str, told: str, truing: Any, tmp_path: Path
) -> None:
    recipe = tiny.recipe_file(tmp_path)
    rows = [{"prompt": f"{row} " + "e" * 70, "chosen": "aa", "rejected": "zz"} for row in range(30)]
    file = tiny.write_rows(tmp_path / "preferences.jsonl", [*rows, *tiny.preferences(24)])
    heldout = tiny.write_rows(tmp_path / "heldout.jsonl", tiny.preferences(24)[20:])
    tiny.write_rows(file, [*rows, *tiny.preferences(20)])
    said = truing(
        "validate", recipe, "--set", f"data.too_long={policy}", "--set", f"data.heldout_preferences.path={heldout}"
    )
    assert said.code == 0, said.err
    (line,) = (line for line in said.out.splitlines() if line.startswith("data.preferences: ") and told in line)
    assert line.count(str(file)) == 5
    assert ", and 25 more." in line


@pytest.mark.usefixtures("nothing_is_learnt")
@pytest.mark.parametrize(
    ("judge", "told"),
    [
        ("rules:nope", "rules:nope: "),
        ("broken:f", "broken:f: cannot be imported (SyntaxError"),
        ("nomodule:f", "nomodule:f: cannot be imported (ModuleNotFoundError"),
        ("nofile.py:f", "judges.x: nofile.py:f: there is no file nofile.py."),
    ],
)
def test_functions_are_imported_as_a_run_will_import_them(judge: str, told: str, truing: Any, tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text("def f(prompts, responses):\n    return [0.0 for _ in responses]\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    recipe = tiny.recipe_file(tmp_path)
    assert truing("validate", recipe, "--set", 'judges={x: "rules:f"}').code == 0
    said = truing("validate", recipe, "--set", f'judges={{x: "{judge}"}}')
    assert said.code == 2
    assert said.err.count(judge.partition(":")[0]) >= 1
    assert told in said.err


SUMS = [{"prompt": f"{letter}+{letter}=", "answer": 2 * letter, "level": 1} for letter in tiny.LETTERS[:20]]


@pytest.mark.usefixtures("nothing_is_learnt")
@pytest.mark.parametrize(
    ("arguments", "remarked", "refused"),
    [
        ("prompts, responses, answer", ["level"], None),
        ("prompts, responses, **columns", [], None),
        ("prompts, responses, level=1", ["answer"], None),
        ("prompts, responses", ["answer", "level"], None),
        ("prompts, responses, anser", ["answer", "level"], "Did you mean `answer`?"),
    ],
)
def test_a_column_that_a_function_takes_is_read_and_one_that_is_not_there_is_refused(
    arguments: str, remarked: list[str], refused: str | None, truing: Any, tmp_path: Path
) -> None:
    (tmp_path / "rules.py").write_text(f"def f({arguments}):\n    return [0.0 for _ in responses]\n")
    prompts = tiny.write_rows(tmp_path / "prompts.jsonl", SUMS)
    recipe = tiny.recipe_file(tmp_path, **{"data.prompts": Source(path=str(prompts)).model_dump()})
    said = truing("validate", recipe, "--set", 'judges={x: "rules:f"}')
    assert [name for name in ("answer", "level") if f"`{name}` is not read" in said.out] == remarked
    assert (said.code, [code for code, *_ in said.spots]) == ((2, ["rewards/no-column"]) if refused else (0, []))
    if refused:
        assert "rules:f: takes `anser`, and no row has a column of that name; there are `answer`, `level`" in said.err
        assert refused in said.err


@pytest.mark.usefixtures("nothing_is_learnt")
def test_a_language_model_is_asked_once_and_the_columns_of_its_rubric_are_read(truing: Any, tmp_path: Path) -> None:
    prompts = tiny.write_rows(tmp_path / "prompts.jsonl", SUMS)
    (tmp_path / "rubric.txt").write_text("Right is {answer}.")
    with serving(lambda asked: "Score: 4") as server:
        judge = {"base_url": server.base_url, "model": "m", "rubric": "rubric.txt"}
        changes = {"llm_judges": {"strict": judge}, "evaluation.judges": {"right": "strict"}}
        recipe = tiny.recipe_file(tmp_path, **{"data.prompts": Source(path=str(prompts)).model_dump(), **changes})
        said = truing("validate", recipe)
        assert (said.code, len(server.asked)) == (0, 1)
        assert "Right is aa." in server.asked[0]["messages"][0]["content"]
        assert [name for name in ("answer", "level") if f"`{name}` is not read" in said.out] == ["level"]
        (tmp_path / "rubric.txt").write_text("Right is {anser}.")
        assert [code for code, *_ in truing("validate", recipe).spots] == ["rewards/rubric-column"]
        (tmp_path / "rubric.txt").write_text("Right is {answer}.")
        tiny.write_rows(prompts, [*SUMS, {"prompt": "z=", "answer": None, "level": 1}])
        refused = truing("validate", recipe)
        assert [code for code, *_ in refused.spots] == ["rewards/rubric-null"]
        assert f"names {{answer}}, which is null in {prompts}:{len(SUMS) + 1}." in refused.err
        assert len(server.asked) == 1
    said = truing("validate", recipe, "--set", "llm_judges.strict.rubric=no.txt")
    assert [code for code, *_ in said.spots] == ["rewards/no-rubric-file"]
    said = truing("validate", recipe, "--set", "llm_judges={}")
    assert said.spots[0][:2] == ("recipe/no-function", "evaluation.judges.right")


@pytest.mark.parametrize(
    ("url", "told"),
    [("http://far.example/v1", True), ("https://far.example/v1", False), ("http://127.0.0.1:1/v1", False)],
)
def test_a_key_that_goes_in_the_clear_is_told(url: str, told: bool, tmp_path: Path) -> None:
    judge = {"base_url": url, "model": "m", "key_variable": "KEY"}
    assert bool(keys_in_the_clear(tiny.recipe(tmp_path, llm_judges={"strict": judge}))) is told
