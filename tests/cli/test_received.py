"""A run that somebody sent, hostile wherever it can be, is opened by every command: nothing of it runs."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from cli.conftest import Command
from faults.test_canary import Canary
from transformers.utils import logging as transformers_logging

import truing as package
from truing.cli.recipe_file import python_beside
from truing.config import resolved_yaml
from truing.core.errors import ModelError, RecipeError
from truing.pipeline.execute import run_pipeline
from truing.runs.files import sha256_file
from truing.runs.progress import SilentProgress

STEERS = ["\x1b", "\x9b", "\r", "\u202e", "\x07"]
"""Characters that a terminal obeys, or that reorder what is read"""
HOSTILE = "x".join(STEERS) + "[2J[link=file:///]y[/link][/]"
AUTO_MAP = {
    "AutoConfig": "evil.Config",
    "AutoModelForCausalLM": "evil.Model",
    "AutoModelForSequenceClassification": "evil.Model",
    "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `recipe.yaml` and what it is made of, and its finished run."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    place = tmp_path_factory.mktemp("finished")
    recipe = tiny.recipe(place, **{"ppo.updates": 1})
    (place / "recipe.yaml").write_text(resolved_yaml(recipe), encoding="utf-8")
    run_pipeline(recipe, place / "run", SilentProgress())
    return place


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "sang"
    yield file
    assert not file.exists()


@pytest.fixture
def received(finished: Path, canary: Path, tmp_path: Path) -> Path:
    """The folder of a person who was sent the run; the recipe, base and rows are their own."""
    place = tmp_path / "mine"
    shutil.copytree(finished, place)
    (place / "recipe.yaml").write_text((place / "recipe.yaml").read_text().replace(str(finished), str(place)))
    (place / "run" / "recipe.yaml").write_text((place / "recipe.yaml").read_text())
    return place


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def plant(run: Path, canary: Path) -> None:
    """Code under every name by which it might be found, and a record that vouches for all of it."""
    code = f"open({str(canary)!r}, 'w')\nclass Config: pass\nclass Model: pass\nclass Tokenizer: pass\n"
    for name in ("evil", "torch", "transformers", "wandb", "kernels", "tiktoken", "megatron"):
        (run / f"{name}.py").write_text(code)
    for model in (run / "sft" / "model", run / "reward" / "model", run / "ppo" / "model"):
        (model / "evil.py").write_text(code)
        (model / "custom_generate").mkdir()
        (model / "custom_generate" / "generate.py").write_text(code)
        (model / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(canary)))
        edit(model / "config.json", model_type="own", auto_map=AUTO_MAP)
        edit(model / "tokenizer_config.json", auto_map=AUTO_MAP, tokenizer_class="Tokenizer")
        (model / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}{{ 9**9**9 }}")
    for adapter in run.glob("*/adapter"):
        edit(adapter / "adapter_config.json", megatron_config={"a": 1}, megatron_core="evil")
    for result in run.glob("*/result.json"):
        edit(result, warnings=[HOSTILE], notes=[HOSTILE])
    record = json.loads((run / "run.json").read_text())
    record["versions"][HOSTILE] = HOSTILE
    for stage in record["stages"]:
        stage["files"] = {name: sha256_file(run / stage["name"] / name) for name in stage["files"]}
    (run / "run.json").write_text(json.dumps(record))


def word(run: Path, **variant: Any) -> None:
    """The recipe inside the run asks for whatever lets something run, and its variant for more."""
    evil = f"{run / 'evil.py'}:f"
    changes = {
        "base.trust_remote_code": True,
        "evaluation.judges": {"taste": evil, "other": "evil:f"},
        "rewards.sources": [{"kind": "function", "path": evil}],
        "guard": {"mode": "rollback", "judge": {"kind": "pairs", "path": "evil:f"}},
        "llm_judges": {"strict": {"base_url": "http://elsewhere.example:1/v1", "model": "m", "rubric": str(run / "r")}},
        "track": ["wandb"],
        "rollout.engine": "vllm",
        "rollout.vllm.url": "http://elsewhere.example:1",
        "variants": {"v": {"rewards.sources": [{"kind": "function", "path": evil}], **variant}},
    }
    (run / "recipe.yaml").write_text(resolved_yaml(tiny.recipe(run.parent / "theirs", **changes)))


def unfinished(run: Path) -> None:
    """PPO is still to come."""
    record = json.loads((run / "run.json").read_text())
    record["stages"][-1] |= {"state": "pending", "files": None}
    (run / "run.json").write_text(json.dumps(record))


def says_nothing_raw(said: Any) -> None:
    assert not set(STEERS).intersection(said.out + said.err)
    assert "fault of truing" not in said.err


@pytest.mark.parametrize("stage", [(), ("--stage", "sft"), ("--trust-remote-code", "--stage", "none")])
def test_chat(stage: tuple[str, ...], received: Path, canary: Path, truing: Command) -> None:
    plant(received / "run", canary)
    word(received / "run", base={"trust_remote_code": True})
    said = truing("chat", received / "run", *stage)
    assert said.code == 2
    says_nothing_raw(said)


def test_chat_names_the_consent(received: Path, canary: Path, truing: Command) -> None:
    plant(received / "run", canary)
    word(received / "run", base={"trust_remote_code": True})
    said = truing("chat", received / "run", "--stage", "sft")
    assert [problem.code for problem in said.problems] == ["model/remote-code-of-run"]
    assert f"as it is in {received / 'run' / 'sft' / 'model'}, add --trust-remote-code" in said.err


def test_report(received: Path, canary: Path, truing: Command) -> None:
    plant(received / "run", canary)
    word(received / "run", base={"trust_remote_code": True})
    says_nothing_raw(truing("report", received / "run"))
    assert not {"\x1b", "\u202e"} & set((received / "run" / "report.html").read_text())


def test_score(received: Path, canary: Path, truing: Command) -> None:
    plant(received / "run", canary)
    word(received / "run", base={"trust_remote_code": True})
    said = truing("score", received / "run", received / "demonstrations.jsonl")
    assert said.code == 2
    says_nothing_raw(said)


def test_judge(received: Path, canary: Path, truing: Command) -> None:
    run = received / "run"
    plant(run, canary)
    word(run, base={"trust_remote_code": True})
    code = run / "reward" / "model" / "evil.py"
    for reward in (run, run / "reward", run / "reward" / "model", f"{code}:Model"):
        said = truing("judge", reward, received / "preferences.jsonl")
        assert said.code == 2
        says_nothing_raw(said)
    assert [problem.code for problem in said.problems] == ["rewards/in-a-run"]


@pytest.mark.parametrize(
    "options", [(), ("--stage", "sft"), ("--stage", "reward"), ("--trust-remote-code", "--stage", "none")]
)
def test_export(options: tuple[str, ...], received: Path, canary: Path, truing: Command) -> None:
    plant(received / "run", canary)
    word(received / "run", base={"trust_remote_code": True})
    said = truing("export", received / "run", "--to", received / "out", *options)
    assert said.code == 2
    says_nothing_raw(said)
    assert not (received / "out").exists()


def test_export_of_an_adapter(received: Path, canary: Path, truing: Command) -> None:
    """It is copied and not loaded, with a card of what the run says of itself."""
    plant(received / "run", canary)
    word(received / "run", base={"trust_remote_code": True})
    said = truing("export", received / "run", "--to", received / "out", "--adapter")
    says_nothing_raw(said)
    assert not [file for file in (received / "out").rglob("*") if file.suffix in (".py", ".bin")]


def test_an_export_has_nothing_from_outside_its_directory(received: Path, truing: Command) -> None:
    """The record may name files elsewhere: what is handed on is what lies in the result."""
    record = json.loads((received / "run" / "run.json").read_text())
    (received / "secret.txt").write_text("dear to me")
    record["stages"][-1]["files"]["model/../../../secret.txt"] = sha256_file(received / "secret.txt")
    (received / "run" / "run.json").write_text(json.dumps(record))
    assert truing("export", received / "run", "--to", received / "out").code == 0
    assert [file.parent for file in received.rglob("secret.txt")] == [received]


def test_sample(received: Path, canary: Path, truing: Command) -> None:
    run = received / "run"
    plant(run, canary)
    word(run, base={"trust_remote_code": True})
    for more in ((), ("--best-of", 2), ("--reward", f"{run / 'evil.py'}:f", "--best-of", 2)):
        said = truing("sample", run, received / "demonstrations.jsonl", *more)
        assert said.code == 2
        says_nothing_raw(said)
    assert [problem.code for problem in said.problems] == ["rewards/in-a-run"]


def test_compare(received: Path, canary: Path, truing: Command) -> None:
    run = received / "run"
    own = shutil.copytree(run, received / "own")
    plant(run, canary)
    word(run, base={"trust_remote_code": True})
    for runs in ((own, run), (run, own), (run,)):
        said = truing("compare", *runs, "--out", received / "found.json")
        assert said.code == 0
        says_nothing_raw(said)


def test_python(received: Path, canary: Path) -> None:
    run = received / "run"
    plant(run, canary)
    word(run, base={"trust_remote_code": True})
    opened = package.load(run)
    assert not set(STEERS).intersection(opened._repr_html_())
    for asked in (lambda: opened.policy, lambda: opened.reward):
        with pytest.raises(ModelError):
            asked()
    word(run)
    with pytest.raises(RecipeError) as refused:
        package.run(run / "recipe.yaml", out=received / "new")
    assert {problem.code for problem in refused.value.problems} == {"recipe/not-your-word"}


@pytest.mark.parametrize("trusts", [False, True])
@pytest.mark.parametrize("fork", [False, True])
def test_run(trusts: bool, fork: bool, received: Path, canary: Path, truing: Command) -> None:
    """The person's own recipe may trust the base: that is no word for other code in a stage's directory."""
    recipe, run = received / "recipe.yaml", received / "run"
    for file in (recipe, run / "recipe.yaml"):
        file.write_text(
            file.read_text().replace("trust_remote_code: false", f"trust_remote_code: {str(trusts).lower()}")
        )
    plant(run, canary)
    unfinished(run)
    said = truing("run", recipe, "--out", run, *(("--fork-to", received / "new") if fork else ()))
    assert said.code == 2
    assert said.problems[0].code == ("model/foreign-code" if trusts else "model/remote-code")
    says_nothing_raw(said)


def test_an_adapter_inside_a_model_leads_to_no_other_model(received: Path, canary: Path, truing: Command) -> None:
    """Where there is no config.json, transformers would load the model that the adapter names."""
    run = received / "run"
    model = run / "sft" / "model"
    other = shutil.copytree(model, received / "other")
    plant(run, canary)
    shutil.rmtree(model)
    shutil.copytree(other, model)
    (model / "config.json").rename(model / "other.json")
    (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(other), "peft_type": "LORA"}))
    for arguments in (("chat", run, "--stage", "sft"), ("chat", run, "--stage", "sft", "--trust-remote-code")):
        said = truing(*arguments)
        assert [problem.code for problem in said.problems] == ["model/embedded-adapter"]


@pytest.mark.parametrize(
    "more", [{"megatron_config": {"a": 1}, "megatron_core": "evil"}, {"use_dora": True}, {"lora_bias": True}]
)
@pytest.mark.parametrize("file", ["adapter_config.json", "upper_config.json"])
def test_an_adapter_imports_nothing_and_is_no_more_than_two_matrices(
    file: str, more: dict[str, Any], received: Path, canary: Path, truing: Command
) -> None:
    run = received / "run"
    (received / "evil.py").write_text(f"open({str(canary)!r}, 'w')")
    adapter = run / "reward" / "adapter" / file
    edit(adapter, **more)
    record = json.loads((run / "run.json").read_text())
    record["stages"][1]["files"][f"adapter/{file}"] = sha256_file(adapter)
    (run / "run.json").write_text(json.dumps(record))
    unfinished(run)
    said = truing("run", received / "recipe.yaml", "--out", run)
    assert [problem.code for problem in said.problems] == ["model/other-adapter"]


@pytest.mark.parametrize("command", ["run", "validate", "doctor"])
def test_the_recipe_inside_a_run_is_no_word_of_mine(
    command: str, received: Path, canary: Path, truing: Command
) -> None:
    run = received / "run"
    plant(run, canary)
    word(run)
    out = ("--out", received / "new") if command == "run" else ()
    said = truing(command, run / "recipe.yaml", *out)
    assert said.code == 2
    assert {problem.code for problem in said.problems} == {"recipe/not-your-word"}
    assert {problem.field for problem in said.problems} >= {
        "base.trust_remote_code",
        "evaluation.judges.taste",
        "rewards.sources.0.path",
        "llm_judges.strict.base_url",
        "llm_judges.strict.rubric",
        "track",
        "rollout.engine",
        "rollout.vllm.url",
        "variants.v.rewards.sources.0.path",
    }
    assert not (received / "new").exists()


def test_what_is_said_on_the_command_line_is_my_word_and_the_rest_needs_none(received: Path, truing: Command) -> None:
    recipe = received / "run" / "recipe.yaml"
    assert truing("validate", recipe).code == 0
    (received / "judge.py").write_text("def score(prompts, responses):\n    return [0.0 for _ in responses]\n")
    judges = f"evaluation.judges={{taste: '{received / 'judge.py'}:score'}}"
    assert truing("validate", recipe, "--set", judges).code == 0


def test_modules_that_lie_in_a_run_stand_in_for_no_library(received: Path, canary: Path) -> None:
    run = received / "run"
    for name in ("typer", "rich", "json"):
        (run / f"{name}.py").write_text(f"open({str(canary)!r}, 'w')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "truing", "--version"]
    assert subprocess.run(command, cwd=run, env=environment, check=False).returncode == 0
    for recipe, beside in ((run / "recipe.yaml", run), (received / "recipe.yaml", received)):
        with python_beside(recipe):
            assert (str(beside) in sys.path) == (beside == received)


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "stage": lambda run, mine: (shutil.rmtree(run / "ppo"), (run / "ppo").symlink_to(mine))[1],
    "lock": lambda run, mine: ((run / ".lock").unlink(), (run / ".lock").symlink_to(mine / "note"))[1],
    "log": lambda run, mine: (
        (run / "ppo" / "metrics.jsonl").unlink(),
        (run / "ppo" / "metrics.jsonl").symlink_to(mine / "note"),
    )[1],
    "a loop": lambda run, mine: (run / "loop").symlink_to(run.parent / "loop"),
    "pipe": lambda run, mine: ((run / "run.json").unlink(), os.mkfifo(run / "run.json"))[1],
    "recipe": lambda run, mine: ((run / "recipe.yaml").unlink(), os.mkfifo(run / "recipe.yaml"))[1],
}


@pytest.mark.parametrize("link", LINKS)
def test_a_link_in_a_run_leads_to_nothing_of_mine(link: str, received: Path, truing: Command) -> None:
    run, mine = received / "run", received / "documents"
    mine.mkdir()
    (mine / "note").write_text("dear to me")
    unfinished(run)
    LINKS[link](run, mine)
    recipe = received / "recipe.yaml"
    for arguments in (
        ("report", run),
        ("chat", run),
        ("score", run, received / "demonstrations.jsonl"),
        ("judge", run, received / "preferences.jsonl"),
        ("sample", run, received / "demonstrations.jsonl"),
        ("compare", run),
        ("export", run, "--to", received / "out"),
        ("run", recipe, "--out", run),
        ("run", recipe, "--out", run, "--fork-to", received / "new"),
    ):
        said = truing(*arguments)
        assert [problem.code for problem in said.problems] == ["run/link"], arguments
    assert (mine / "note").read_text() == "dear to me"


@pytest.mark.parametrize("name", ["run.json", "sft/result.json", "ppo/metrics.jsonl"])
def test_json_nested_without_end_is_no_json(name: str, received: Path, truing: Command) -> None:
    (received / "run" / name).write_text("[" * 100_000)
    said = truing("report", received / "run")
    assert [problem.code for problem in said.problems] in (["run/not-json"], [])
    assert said.code in (0, 2)
