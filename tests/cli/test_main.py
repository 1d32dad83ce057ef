"""Start-up is fast, a run closes with a table, and every way of ending has its exit code."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny
from forked import Starter, anew, forked

import truing as package
from truing.cli import main as entry
from truing.core.errors import InputError
from truing.core.records import Sample

HEAVY = ["torch", "transformers", "peft", "datasets", "matplotlib"]
IMPORTED = f"""
import sys
from truing.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("imported:", [name for name in {HEAVY} if name in sys.modules])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of every stage, not run yet."""
    place = tmp_path_factory.mktemp("cli")
    tiny.recipe_file(place, **{"ppo.updates": 1})
    return place


@pytest.fixture(scope="module")
def run(place: Path) -> tuple[str, str]:
    """What the recipe, run once in `place`/run by a process of its own, prints and complains of."""
    said, told = place / "said", place / "told"
    assert forked(["run", str(place / "recipe.yaml"), "--out", str(place / "run")], said, told).wait() == 0
    return said.read_text(), told.read_text()


def test_the_package_is_imported_in_no_time_and_knows_what_it_offers() -> None:
    code = (
        f"import sys, truing; print([name for name in {[*HEAVY, 'typer', 'rich', 'pydantic']} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert {"run", "load"} <= {*dir(package)}
    with pytest.raises(AttributeError, match="no attribute 'align'"):
        _ = package.align


@pytest.mark.parametrize("arguments", [["--help"], ["label", "--help"], ["round", "--help"], ["migrate", "--help"]])
def test_what_reads_no_recipe_imports_nothing_that_checks_one(arguments: list[str]) -> None:
    """The models of a recipe take longer to build than everything else that help needs."""
    code = IMPORTED.replace(str(HEAVY), str(["yaml", "truing.config.recipe"]))
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("imported: []\n")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["export", "--help"], ["run", "--help"], ["validate", "quickstart"], ["recipes"]]
)
def test_what_needs_no_model_imports_no_library_for_models(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_rows_are_checked_without_a_library_for_models_where_the_base_is_not_fetched(place: Path) -> None:
    arguments = ["validate", str(place / "recipe.yaml"), "--set", "base.path=someone/model"]
    done = subprocess.run([sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=True)
    *said, imported = done.stdout.splitlines()
    assert "data.demonstrations: 24 rows are sound" in said
    assert imported == "imported: []"


@pytest.mark.long
def test_a_run_imports_no_tables(place: Path, tmp_path: Path) -> None:
    """They take 60 MB in each process, and half a second."""
    arguments = ["run", str(place / "recipe.yaml"), "--out", str(tmp_path / "run"), "--set", "stages=[sft]"]
    code = IMPORTED.replace(str(HEAVY), str(["pandas", "pyarrow"]))
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_a_run_is_told_in_lines_and_a_table_and_libraries_are_silent(run: tuple[str, str], place: Path) -> None:
    said, told = run
    assert told == ""
    lines = said.splitlines()
    assert sum(line.startswith("prompts: ") for line in lines) == 1
    assert lines[-1] == f"report: {place / 'run' / 'report.html'}"
    table = lines[[line.split()[:2] for line in lines].index(["stage", "time"]) :]
    assert all(any(line.startswith(stage) for line in table) for stage in ("sft", "reward", "ppo"))


@pytest.mark.usefixtures("run")
def test_a_finished_run_says_its_table_again(truing: Any, place: Path) -> None:
    said = truing("run", place / "recipe.yaml", "--out", place / "run")
    assert said.code == 0
    assert f"{place / 'run'}: every stage is done, so there is nothing left to run" in said.out
    assert "Held-out loss" in said.out
    assert "steps" not in said.out


@pytest.mark.usefixtures("run")
def test_a_fork_takes_over_what_still_matches(truing: Any, place: Path) -> None:
    changed = ("--set", "ppo.kl.beta=0.5")
    said = truing("run", place / "recipe.yaml", "--out", place / "run", *changed)
    assert said.code == 2
    assert "ppo.kl.beta: 0.05 → 0.5" in said.err
    assert "--fork-to NEW" in said.err
    said = truing("run", place / "recipe.yaml", "--out", place / "run", "--fork-to", place / "fork", *changed)
    assert said.code == 0
    assert f"taken over from {place / 'run'}: sft, reward" in said.out
    assert f"report: {place / 'fork' / 'report.html'}" in said.out


@pytest.mark.usefixtures("run")
def test_report_writes_the_page_again_and_prints_where(truing: Any, place: Path) -> None:
    page = place / "run" / "report.html"
    page.unlink()
    said = truing("report", place / "run")
    assert (said.code, said.out.strip()) == (0, str(page))
    assert page.exists()


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("ending", ["", EOFError, KeyboardInterrupt])
def test_chat_answers_until_an_empty_line(
    ending: Any, truing: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["ab?", ending])

    def typed(*_: object) -> str:
        line = next(lines)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", typed)
    said = truing("chat", place / "run", "--stage", "ppo", "--tokens", "4")
    assert said.code == 0
    assert f"start: the model that ppo began with, {place / 'run' / 'sft' / 'model'}\n" in said.out
    assert f"ppo: what it made of that, {place / 'run' / 'ppo' / 'model'}\n" in said.out
    assert " start " in said.out
    assert " ppo " in said.out


@pytest.mark.usefixtures("run")
def test_chat_tells_of_a_prompt_that_it_cannot_answer_and_goes_on(
    truing: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["  ", "e" * 70, "e" * 60, "ab?", ""])
    monkeypatch.setattr("builtins.input", lambda *_: next(lines))
    said = truing("chat", place / "run", "--stage", "sft", "--tokens", "8")
    assert said.code == 0
    told = [line for line in said.out.splitlines() if line.endswith(" Nothing was asked.")]
    assert [line.removesuffix(" Nothing was asked.").removeprefix("> ") for line in told] == [
        "`prompt` has nothing but white space.",
        "the prompt has 70 tokens; the model reads 64 in all.",
        "the prompt has 60 tokens and may be answered with 8; the model reads 64 in all.",
    ]
    assert said.out.count(" start ") == 1


@pytest.mark.usefixtures("run")
def test_chat_marks_an_answer_that_was_cut_off(truing: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([Sample("ab?", "abc", (), (4, 5, 6), finished=False), Sample("ab?", "ab", (), (4, 5), True)])
    monkeypatch.setattr("truing.results.LanguageModel.answers", lambda *_: [next(answers)])
    lines = iter(["ab?", ""])
    monkeypatch.setattr("builtins.input", lambda *_: next(lines))
    said = truing("chat", place / "run", "--stage", "ppo", "--tokens", "3")
    assert "abc (cut off at 3 tokens)" in said.out
    assert said.out.count("cut off") == 1


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("stage", ["dpo", "reward"])
def test_chat_with_a_stage_that_left_no_policy_names_those_that_did(stage: str, truing: Any, place: Path) -> None:
    said = truing("chat", place / "run", "--stage", stage)
    assert (said.code, said.spots) == (2, [("run/no-such-policy", None, str(place / "run"))])
    assert "Finished: sft, ppo. Choose with --stage." in said.err


def test_a_recipe_is_not_copied_into_a_folder_that_is_not_there(truing: Any, tmp_path: Path) -> None:
    said = truing("recipes", "quickstart", "--copy", tmp_path / "none" / "my.yaml")
    assert (said.code, said.spots) == (2, [("recipe/unwritable", None, str(tmp_path / "none" / "my.yaml"))])


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (KeyboardInterrupt, 130, "truing: interrupted.\n"),
        (
            ZeroDivisionError("x"),
            1,
            "truing: unexpected ZeroDivisionError: x. This is a fault of truing; --debug shows",
        ),
    ],
)
def test_what_ends_a_command_early_has_its_exit_code(
    raised: Any, code: int, told: str, truing: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr("truing.cli.validate.read_recipe", fail)
    said = truing("validate", place / "recipe.yaml")
    assert said.code == code
    assert told in said.err
    assert "Traceback" not in said.err


def test_a_run_that_is_ended_early_says_that_it_goes_on(
    truing: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("truing.cli.run.named_recipe", interrupted)
    said = truing("run", place / "recipe.yaml")
    assert said.code == 130
    assert "interrupted. The same command goes on from what is saved, or begins again." in said.err


def test_what_several_processes_ended_with_is_not_told_once_more(
    truing: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("truing.cli.run.launch", lambda *_: (130, None))  # after Ctrl-C, of which the owner told
    said = truing("run", place / "recipe.yaml", "--processes", 2)
    assert (said.code, said.err) == (130, "")


@pytest.mark.parametrize(("rank", "told"), [("0", "truing: interrupted.\n"), ("1", "")])
def test_of_several_processes_the_first_tells_of_ctrl_c(
    rank: str, told: str, truing: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for name, value in {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("truing.cli.validate.read_recipe", interrupted)
    said = truing("validate", place / "recipe.yaml")
    assert (said.code, said.err) == (130, told)


def test_debug_shows_the_traceback(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["truing", "validate", str(place / "recipe.yaml"), "--debug", "--set", "seed=x"])
    with pytest.raises(InputError, check=lambda error: error.code.startswith("recipe/")):
        entry()


@pytest.mark.parametrize(
    ("number", "code", "start"),
    [
        (signal.SIGINT, 130, forked),
        (signal.SIGTERM, 143, anew),
        (signal.SIGHUP, 129, forked),
        (signal.SIGUSR1, 138, forked),
    ],
)
def test_a_signal_ends_the_run_once_the_step_is_saved(
    number: signal.Signals, code: int, start: Starter, place: Path
) -> None:
    root = place / f"interrupted-{code}"
    said, told = root.with_suffix(".out"), root.with_suffix(".err")
    long = ["--set", "sft.epochs=2000"]  # a minute, which are planned in no time
    going = start(["run", str(place / "recipe.yaml"), "--out", str(root), *long], said, told)
    try:
        while " steps\n" not in (said.read_text() if said.exists() else ""):
            assert going.poll() is None, told.read_text()
            time.sleep(0.02)
        going.send_signal(number)
        assert going.wait(60) == code
    finally:
        going.kill()
    assert "stopping: this step has 5 seconds to finish, then it is left; once more stops at once" in said.read_text()
    assert re.fullmatch(
        r"truing: interrupted, sft is saved after step \d+\. The same command goes on from there\.\n", told.read_text()
    )
    assert len(list((root / "sft" / "checkpoints").iterdir())) == 1
    assert not (root / "sft" / "result.json").exists()


def test_a_shipped_recipe_can_be_listed_shown_and_copied_but_not_over_a_file(truing: Any, tmp_path: Path) -> None:
    assert "quickstart" in truing("recipes").out
    shown = truing("recipes", "quickstart").out
    assert truing("recipes", "quickstart", "--copy", tmp_path / "own.yaml").code == 0
    assert (tmp_path / "own.yaml").read_text() == shown
    said = truing("recipes", "quickstart", "--copy", tmp_path / "own.yaml")
    assert (said.code, said.spots) == (2, [("recipe/file-exists", None, str(tmp_path / "own.yaml"))])
    said = truing("recipes", "--copy", tmp_path / "other.yaml")
    assert (said.code, said.spots) == (2, [("recipe/no-name", None, f"--copy {tmp_path / 'other.yaml'}")])
