"""What no file of truing does."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from architecture.sources import FILES, module, named, tree

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


def found(path: Path, names: set[str]) -> list[str]:
    return [f"{named(path)}:{line} has {name}" for line, name in uses(tree(path)) if name in names]


@pytest.mark.parametrize("path", [path for path in FILES if not module(path).startswith("cli")], ids=named)
def test_only_the_command_line_talks_and_listens(path: Path) -> None:
    assert found(path, TALK) == []


CLI = [path for path in FILES if module(path).startswith("cli.") and module(path) != "cli.output"]


@pytest.mark.parametrize("path", CLI, ids=named)
def test_the_command_line_prints_at_one_place_where_nothing_steers_the_terminal(path: Path) -> None:
    assert found(path, {"print", "Console", "sys.stdout.write", "sys.stderr.write"}) == []


WORDS_OF_RUNS = {"config.loading", "config", "runs.directory", "runs.received", "pipeline.fork"}
"""Who reads the recipe recorded in a run: those who define or compare it, and the one who takes its consents out"""


@pytest.mark.parametrize("path", [path for path in FILES if module(path) not in WORDS_OF_RUNS], ids=named)
def test_nobody_else_takes_the_word_of_a_run(path: Path) -> None:
    assert "recorded_recipe" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=named)
def test_whoever_loads_a_model_says_whether_its_code_may_run(path: Path) -> None:
    """Where nothing is said, transformers asks on standard input."""
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    loads = [call for call in calls if re.match(r"(?i:auto)\w*\.from_(pretrained|config)", ast.unparse(call.func))]
    assert [f"{named(path)}:{call.lineno}" for call in loads if "trust_remote_code" not in ast.unparse(call)] == []


@pytest.mark.parametrize("path", FILES, ids=named)
def test_nothing_given_is_run_as_code(path: Path) -> None:
    assert found(path, DANGER) == []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {str(getattr(node, "module", None))}
            assert not {name.partition(".")[0] for name in names} & UNPICKLING
        elif isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle"):
            assert isinstance(node.value, ast.Constant)
            assert not node.value.value, f"{named(path)}:{node.value.lineno} sets {node.arg}"


@pytest.mark.parametrize("text", ["pickle", "weights_only=False", "yaml.load(", "eval(", "shell=True"])
def test_a_search_for_what_runs_code_finds_nothing(text: str) -> None:
    """Not even where it would be harmless, so that anybody can search."""
    assert [named(path) for path in FILES if text in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_machine_is_named(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [f"{named(path)}:{number}" for number, line in enumerate(lines, 1) if MACHINE_PATH.search(line)] == []


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


def codes(path: Path) -> Iterator[tuple[int, str, ast.expr | None]]:
    """Line and class of each error or problem that is made, and its code; those that pass on another's are left out."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS | {"Problem": None}:
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            first = node.args[0] if node.args and node.func.id == "Problem" else None
            if None not in given:
                yield node.lineno, node.func.id, given.get("code", first)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_error_says_by_a_code_of_its_subject_what_is_wrong(path: Path) -> None:
    for line, name, code in codes(path):
        if name == "Problem" and not isinstance(code, ast.Constant):
            continue  # made for its caller, who gives the code
        text = ast.literal_eval(code) if isinstance(code, ast.Constant) else ""
        assert CODE.fullmatch(text), f"{named(path)}:{line} has no code"
        assert name == "Problem" or text.startswith(f"{KINDS[name].code}/"), f"{named(path)}:{line} is no {name}"


def test_a_code_has_one_meaning() -> None:
    """Each is given at one place, but for those whose places say the same."""
    found = Counter(code.value for path in FILES for _, _, code in codes(path) if isinstance(code, ast.Constant))
    assert {code for code, count in found.items() if count > 1} == SHARED
