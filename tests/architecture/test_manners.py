"""What no file of truing does."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from architecture.sources import FILES, module, named

from truing.core.errors import InterruptedRunError, TruingError
from truing.data.fields import FieldError

MACHINE_PATH = re.compile(r"(^|[\s'\"=:(])(/(home|root|work|tmp|Users|mnt|scratch)/|~/|[A-Z]:\\)")
UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
TALK = {"print", "input", "Console", "sys.stdout", "sys.stdin", "sys.argv"}
DANGER = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.load", "os.system", "os.popen"}


def uses(file: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each `a.b` that is read and each plain name that is called."""
    for node in ast.walk(file):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.lineno, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.lineno, node.func.id


def found(trees: Mapping[Path, ast.Module], names: set[str], but: Callable[[str], bool] = lambda _: False) -> list[str]:
    """Where one of these names is used, but in some modules."""
    files = {path: file for path, file in trees.items() if not but(module(path))}
    return [
        f"{named(path)}:{line} has {name}" for path, file in files.items() for line, name in uses(file) if name in names
    ]


def test_only_the_command_line_talks_and_listens(trees: Mapping[Path, ast.Module]) -> None:
    assert found(trees, TALK, but=lambda name: name.startswith("cli")) == []


def test_the_command_line_prints_at_one_place_where_nothing_steers_the_terminal(
    trees: Mapping[Path, ast.Module],
) -> None:
    printing = {"print", "Console", "sys.stdout.write", "sys.stderr.write"}
    assert found(trees, printing, but=lambda name: not name.startswith("cli.") or name == "cli.output") == []


WORDS_OF_RUNS = {"config.loading", "config", "runs.directory", "runs.received", "pipeline.fork"}
"""Who reads the recipe recorded in a run: those who define or compare it, and the one who takes its consents out"""


def test_nobody_else_takes_the_word_of_a_run() -> None:
    assert {module(path) for path in FILES if "recorded_recipe" in path.read_text(encoding="utf-8")} <= WORDS_OF_RUNS


def test_whoever_loads_a_model_says_whether_its_code_may_run(trees: Mapping[Path, ast.Module]) -> None:
    """Where nothing is said, transformers asks on standard input."""
    calls = [(path, node) for path, file in trees.items() for node in ast.walk(file) if isinstance(node, ast.Call)]
    loads = [
        (path, call)
        for path, call in calls
        if re.match(r"(?i:auto)\w*\.from_(pretrained|config)", ast.unparse(call.func))
    ]
    assert loads
    silent = [f"{named(path)}:{call.lineno}" for path, call in loads if "trust_remote_code" not in ast.unparse(call)]
    assert silent == []


def test_nothing_given_is_run_as_code(trees: Mapping[Path, ast.Module]) -> None:
    assert found(trees, DANGER) == []
    for path, node in ((path, node) for path, file in trees.items() for node in ast.walk(file)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {str(getattr(node, "module", None))}
            assert not {name.partition(".")[0] for name in names} & UNPICKLING, f"{named(path)}:{node.lineno}"
        elif isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle"):
            assert isinstance(node.value, ast.Constant), f"{named(path)}:{node.value.lineno} sets {node.arg}"
            assert not node.value.value, f"{named(path)}:{node.value.lineno} sets {node.arg}"


@pytest.mark.parametrize("text", ["pickle", "weights_only=False", "yaml.load(", "eval(", "shell=True"])
def test_a_search_for_what_runs_code_finds_nothing(text: str) -> None:
    """Not even where it would be harmless, so that anybody can search."""
    assert [named(path) for path in FILES if text in path.read_text(encoding="utf-8")] == []


def test_no_machine_is_named() -> None:
    lines = (
        (f"{named(path)}:{number}", line)
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    )
    assert [place for place, line in lines if MACHINE_PATH.search(line)] == []


@pytest.mark.parametrize(
    "name", ["cli.main", "data.rows", "config", "config.plan", "preflight.files", "preflight.stages"]
)
def test_what_must_start_fast_imports_no_model_library(name: str) -> None:
    code = f"import sys, truing.{name}; print(*{{'torch', 'transformers', 'datasets', 'peft'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


def kinds(root: type[TruingError]) -> dict[str, type[TruingError]]:
    return {root.__name__: root} | {name: kind for one in root.__subclasses__() for name, kind in kinds(one).items()}


KINDS = kinds(TruingError) | {"FieldError": FieldError}
del KINDS[InterruptedRunError.__name__]  # it takes no code: it has one
SHARED = {
    "data/mixed-kinds",
    "data/not-json",
    "data/not-named",
    "model/labels",
    "model/not-loaded",
    "recipe/no-reward-stage",
    "recipe/no-such-file",
    "recipe/no-such-place",
    "rewards/no-heldout-scores",
    "run/checkpoint-lacks",
    "run/not-json",
    "training/not-finite",
}
"""Codes that are given at several places, which say the same"""
CODE = re.compile(r"[a-z]+/[a-z0-9]+(-[a-z0-9]+)*")


def codes(file: ast.Module) -> Iterator[tuple[int, str, ast.expr | None]]:
    """Line and class of each error or problem that is made, and its code; those that pass on another's are left out."""
    for node in ast.walk(file):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS | {"Problem": None}:
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            first = node.args[0] if node.args and node.func.id == "Problem" else None
            if None not in given:
                yield node.lineno, node.func.id, given.get("code", first)


def test_every_error_says_by_a_code_of_its_subject_what_is_wrong(trees: Mapping[Path, ast.Module]) -> None:
    for path, line, name, code in ((path, *found) for path, file in trees.items() for found in codes(file)):
        if name == "Problem" and not isinstance(code, ast.Constant):
            continue  # made for its caller, who gives the code
        text = ast.literal_eval(code) if isinstance(code, ast.Constant) else ""
        assert CODE.fullmatch(text), f"{named(path)}:{line} has no code"
        assert name == "Problem" or text.startswith(f"{KINDS[name].code}/"), f"{named(path)}:{line} is no {name}"


def test_a_code_has_one_meaning(trees: Mapping[Path, ast.Module]) -> None:
    """Each is given at one place, but for those whose places say the same."""
    found = Counter(
        code.value for file in trees.values() for _, _, code in codes(file) if isinstance(code, ast.Constant)
    )
    assert {code for code, count in found.items() if count > 1} == SHARED
