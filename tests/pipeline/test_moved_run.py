"""A run goes on where it and its inputs were moved to: content decides, not the path."""

import json
from pathlib import Path

import pytest
import tiny

from truing.config import load_recipe, recorded_recipe, resolved_yaml
from truing.config.recipe import Recipe
from truing.core.errors import RunError
from truing.pipeline.execute import run_pipeline
from truing.pipeline.fork import matching
from truing.runs.directory import RunDirectory, open_run
from truing.runs.progress import SilentProgress
from truing.training.job import Job

JUDGE = "def score(prompts, responses):\n    return [len(r) for r in responses]\n"


class Notes(SilentProgress):
    """What is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def _half_done(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in `place`/run that was left in DPO, after SFT, on inputs in `place`."""
    place.mkdir()
    (place / "judge.py").write_text(JUDGE)
    judges = {"evaluation.judges": {"length": f"{place / 'judge.py'}:score"}}
    recipe = tiny.recipe(place, stages=["sft", "dpo"], **judges)
    (place / "recipe.yaml").write_text(resolved_yaml(recipe))
    right = Job.save_policy

    def leaves(job: Job, *arguments: object) -> None:
        if job.name == "dpo":
            raise RunError("left.")
        right(job, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Job, "save_policy", leaves)
        with pytest.raises(RunError, match=r"left\."):
            run_pipeline(recipe, place / "run", SilentProgress())


def _moved(here: Path, there: Path) -> Recipe:
    here.rename(there)
    text = (there / "recipe.yaml").read_text().replace(str(here), str(there))
    (there / "recipe.yaml").write_text(text)
    return load_recipe(there / "recipe.yaml", [])


def test_a_run_that_was_moved_with_its_inputs_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _half_done(tmp_path / "here", monkeypatch)
    recipe = _moved(tmp_path / "here", tmp_path / "there")
    root, progress = tmp_path / "there" / "run", Notes()
    began = json.loads((root / "run.json").read_text())["stages"][0]["started"]
    run = run_pipeline(recipe, root, progress)
    assert [stage.state for stage in run.lineage.stages] == ["done", "done"]
    assert (run.lineage.stages[0].started, run.lineage.stages[0].taken_from) == (began, None)
    assert any("dpo: going on after step" in told for told in progress.said)
    assert recorded_recipe(root / "recipe.yaml") == recipe
    assert str(tmp_path / "here") not in (root / "run.json").read_text()


def test_a_new_place_may_be_named_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _half_done(tmp_path / "here", monkeypatch)
    _moved(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    near = load_recipe(Path("recipe.yaml"), ["base.path=base", "evaluation.judges.length=judge.py:score"])
    assert near.base is not None
    run = run_pipeline(near, tmp_path / "there" / "run", SilentProgress())
    assert [stage.state for stage in run.lineage.stages] == ["done", "done"]


@pytest.mark.parametrize("file", ["judge.py", "demonstrations.jsonl", "base/tokenizer.json"])
def test_other_content_at_the_new_place_is_refused(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _half_done(tmp_path / "here", monkeypatch)
    recipe = _moved(tmp_path / "here", tmp_path / "there")
    changed = tmp_path / "there" / file
    changed.write_text(changed.read_text() + "\n")
    with pytest.raises(RunError) as refused:
        run_pipeline(recipe, tmp_path / "there" / "run", SilentProgress())
    assert refused.value.code == "run/other-inputs"


def test_another_function_of_the_same_file_is_another_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _half_done(tmp_path / "here", monkeypatch)
    recipe = recorded_recipe(tmp_path / "here" / "run" / "recipe.yaml")
    judges = {"length": recipe.evaluation.judges["length"].replace(":score", ":other")}
    other = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"judges": judges})})
    with pytest.raises(RunError, match="another recipe") as refused, open_run(tmp_path / "here" / "run", other):
        pass
    assert refused.value.code == "run/other-recipe"


def test_stages_are_taken_over_from_a_run_on_the_same_inputs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _half_done(tmp_path / "here", monkeypatch)
    recipe = _moved(tmp_path / "here", tmp_path / "there")
    old = RunDirectory(tmp_path / "there" / "run")
    with open_run(tmp_path / "new", recipe) as new:
        new.lineage.record_inputs(old.lineage.facts["inputs"])
        assert matching(old, new) == ["sft"]


def test_a_base_whose_readme_was_mended_goes_on_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _half_done(tmp_path / "here", monkeypatch)
    recipe, progress = recorded_recipe(tmp_path / "here" / "run" / "recipe.yaml"), Notes()
    (tmp_path / "here" / "base" / "README.md").write_text("mended")
    run = run_pipeline(recipe, tmp_path / "here" / "run", progress)
    assert [stage.state for stage in run.lineage.stages] == ["done", "done"]
    assert any("base/README.md" in told for told in progress.said)
