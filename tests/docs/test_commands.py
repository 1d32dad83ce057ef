"""Every command that a page shows runs on a tiny stand-in; what cannot run here is read by its parser, and says why."""

import argparse
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from bare import leave_out
from docs.code_links import ROOT
from docs.commands import Command, commands, words_of
from docs.reader import OF_SECTIONS, at_once, call, made_tiny, meant, write_chat_folder, write_folder
from forked import zygote
from rewards.llm_server import serving

from truing.cli.main import app
from truing.config import resolved_yaml
from truing.config.recipe import Recipe
from truing.data.prepared import Prepared
from truing.estimate.dry_run import Usage, dry_run

NOT_RUN: dict[str, str] = {
    r"truing run .*--(processes|tp|pp) ": "starts processes: tests/processes/test_launch.py",
    r"truing export .*--push ": "asks the Hub: tests/export/test_push.py",
    r"truing export .*--gguf ": "asks llama.cpp's converter: tests/export/test_gguf.py",
    r"truing label \S": "serves a page until it is ended, or asks what one has kept: tests/cli/test_label.py",
    r"truing round ": "has people judge, or takes minutes: tests/cli/test_round.py",
    r"truing run CACHE/movies.yaml ": "needs rows and a model that are fetched: tests/examples/test_movies.py",
    r"torchrun ": "is for several machines: tests/processes/test_several_machines.py",
    r"(VLLM_\w+=\w+ )?vllm serve ": "wants a GPU: tests/rollout/test_vllm.py asks a stand-in",
    r"(sbatch|kubectl) ": "asks a cluster: tests/examples/test_clusters.py",
    r"pipx? install ": "fetches packages: tests/docs/test_commands.py, whether there is what it names",
    r"(\.venv/bin/)?(python -m )?pytest ": "runs tests: tests/docs/test_commands.py, whether they are there",
    r"make (?!quickstart)": "runs all tests, or builds: tests/docs/test_commands.py, whether make knows it",
    r"podman ": "asks for a container engine: tests/release/test_container.py",
    r"truing run reviews.yaml ": "needs what cells of its page write: tests/docs/test_tutorial.py",
    r"(\w+=\w+ )?python benchmarks/": "takes minutes to hours: tests/benchmarks/test_harness.py has what they share",
    r"python examples/movies/": "fetches rows and a model: tests/examples/test_movies.py",
    r"(\.venv/bin/)?python tests/docs/": "writes the pages: tests/docs/test_pages.py",
    r"python -[cm] (?!pytest)": "is truing's other name, or Python's start: tests/cli/test_main.py",
}
"""How a command begins: why it is not run here, and the tests of what it does. It is parsed, its files are there."""
FIRST = "truing run my.yaml"
"""Whose run most others take for done"""
BEFORE = {
    "runs/beta0.1": "truing run my.yaml --set ppo.kl.beta=0.1 --out runs/beta0.1",
    "own.yaml": "truing recipes dpo --copy own.yaml",
    "sums/grpo.yaml": "python examples/arithmetic/make.py sums",
    "runs/guessing/ppo.yaml": "python examples/guessing/make.py runs/guessing",
}
"""What makes a word of a command"""
A_CASE = re.compile(r"truing \w+, ")
"""The name of a case in a table"""
SHOWN = list({tuple(meant(one.words)): one for one in commands() if not A_CASE.match(one.text)}.values())
OF_BENCHMARKS = ("argparse", "harness.options")
"""What a script imports to read its command line"""


def reasons(command: Command) -> list[str]:
    """The entries of NOT_RUN that a command meets."""
    return [pattern for pattern in NOT_RUN if re.match(pattern, f"{command.text} ")]


def named(command: Command) -> str:
    return f"{command.place}: {command.text[:80]}"


RUNS = [one for one in SHOWN if one.words[:2] == ["truing", "run"] and one.words[2:]]
FIRST_OF_THEIR_RECIPE = {one.words[2]: one.text for one in reversed(RUNS)}.values()
"""Which are rehearsed and reported; others are neither, nor are those of sweeps"""
RUN = [command for command in SHOWN if not reasons(command) and command.text not in (FIRST, *BEFORE.values())]
PARSED = [command for command in SHOWN if reasons(command)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's folder, with the first run."""
    place = tmp_path_factory.mktemp("plain")
    write_folder(place)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(place)
        run(FIRST, monkeypatch)
    return place


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("chat")
    write_chat_folder(place)
    return place


@pytest.fixture
def _here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A copy of the reader's folder as the current one; nobody types, and the runs of a sweep are calls."""
    is_of_chat = "MODEL" in request.getfixturevalue("command").text
    folder = request.getfixturevalue("chat" if is_of_chat else "plain")
    shutil.copytree(folder, tmp_path / "folder")
    monkeypatch.chdir(tmp_path / "folder")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("builtins.input", lambda *_: "")
    monkeypatch.setattr("truing.sweep.workers.start_truing", at_once)
    monkeypatch.setattr("truing.estimate.estimator.dry_run", dry_run_once)
    with serving(lambda question: f"Score: {1 + sum(map(ord, question)) % 9}") as server:
        monkeypatch.setitem(OF_SECTIONS, "llm_judges", {"llm_judges.grader.base_url": server.base_url})
        judges = {"strict": {"base_url": server.base_url, "model": "any"}}
        Path("recipe.yaml").write_text(yaml.safe_dump({"world": {}, "llm_judges": judges}), encoding="utf-8")
        yield


_MEASURED: dict[str, dict[str, Usage] | None] = {}


def dry_run_once(recipe: Recipe, rows: Prepared, root: Path) -> dict[str, Usage] | None:
    """A dry run, or what it found before: the same recipe is measured for one process and for several."""
    key = resolved_yaml(recipe).replace(str(root.parents[1]), "")
    if key not in _MEASURED:
        _MEASURED[key] = dry_run(recipe, rows, root)
    return _MEASURED[key]


@pytest.mark.long
@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("command", RUN, ids=named)
def test_it_runs(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for word in BEFORE.keys() & command.words:
        run(BEFORE[word], monkeypatch)
    if not is_only_named(command):
        run(command.text, monkeypatch)


@pytest.mark.parametrize("command", PARSED, ids=named)
def test_what_does_not_run_here_is_read_by_its_parser_and_its_files_are_there(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, *arguments = command.words
    if program == "truing":
        parse(arguments)
    elif program == "torchrun" or arguments[0] == "run":
        parse(arguments[arguments.index("truing") + 1 :])
    elif program == "make":
        would_run(arguments)
    elif program == "python" and arguments[0].startswith(("benchmarks/", "examples/")):
        parse_script(ROOT / arguments[0], arguments[1:], monkeypatch)
    assert lacking(arguments) == []


def test_every_reason_is_somebodys_and_names_tests_that_are_there() -> None:
    met = {pattern for command in PARSED for pattern in reasons(command)}
    assert met == set(NOT_RUN)
    tests = [re.findall(r"tests/[\w/]+\.py", why) for why in NOT_RUN.values()]
    assert [named for named in tests if len(named) != 1 or not (ROOT / named[0]).exists()] == []
    assert {command.text for command in SHOWN}.issuperset([FIRST, *BEFORE.values()])


def run(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a command in this folder: `truing` in this process, make's line of it likewise."""
    program, *arguments = words_of(text)
    if program == "make":
        (line,) = (line for line in would_run(arguments) if " run " in line)
        program, *arguments = words_of(line)
    if program == "python":
        told = Path("told").absolute()
        assert zygote().start(arguments[1:], told, script=ROOT / arguments[0]).wait() == 0, told.read_text()
        return
    assert program == "truing", "tell in NOT_RUN why it does not run here"
    with monkeypatch.context() as patched:
        if arguments[0] in ("run", "sweep") and text not in FIRST_OF_THEIR_RECIPE:
            leave_out(patched.setattr)
        call(made_tiny(meant(arguments)), patched)


def parse(arguments: list[str]) -> None:
    """Reads `truing ARGUMENTS` as the command line does. UsageError if there is no such option, or one is missing."""
    group: Any = typer.main.get_command(app)
    name, *rest = arguments
    assert name in group.commands or name in ("--help", "--version")
    if name in group.commands:
        group.commands[name].make_context(name, rest)


def is_only_named(command: Command) -> bool:
    """Whether a sentence names it without all that it needs. UsageError if it is wrong besides."""
    if not command.is_quoted or command.words[0] != "truing":
        return False
    try:
        parse(meant(command.words[1:]))
    except Exception as error:
        if type(error).__name__ != "MissingParameter":
            raise
        return True
    return False


def would_run(targets: list[str]) -> list[str]:
    """What make would."""
    done = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


class ParsedError(Exception):
    """A script has read its command line."""


def parse_script(script: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs it until it has read its command line; one that reads none is given none."""
    if not any(name in script.read_text(encoding="utf-8") for name in OF_BENCHMARKS):
        assert not arguments or "sys.argv" in script.read_text(encoding="utf-8")
        return
    read = argparse.ArgumentParser.parse_args

    def stop(*given: Any) -> None:
        read(*given)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    monkeypatch.syspath_prepend(str(script.parent))
    before = set(sys.modules)
    with pytest.raises(ParsedError):
        runpy.run_path(str(script), run_name="__main__")
    for name in set(sys.modules) - before:  # plain names, such as `page`, that other scripts give to other files
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(script.parent)):
            del sys.modules[name]


def lacking(words: list[str]) -> list[str]:
    """The project's own files and extras, of those that a command names, that are not there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    files = [file for word in words for file in re.findall(r"\b(?:tests|examples|benchmarks)/[\w./-]+", word)]
    wanted = [extra for word in words for extra in re.findall(r"^truing\[(\w+)\]$", word)]
    return [file for file in files if not (ROOT / file).exists()] + [name for name in wanted if name not in extras]
