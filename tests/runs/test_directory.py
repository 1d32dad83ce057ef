import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from truing.config import with_changes
from truing.config.algorithms import Kl, Ppo
from truing.config.dotted import assign
from truing.config.moved import MOVED
from truing.config.recipe import Recipe
from truing.config.sections import RewardConfig, Rewards
from truing.config.yaml_text import read_yaml
from truing.core.errors import InterruptedRunError, ModelError, RunError, TruingError
from truing.runs.directory import RunDirectory, open_run

RECIPE = Recipe(seed=1, ppo=Ppo(kl=Kl(beta=0.05)), variants={"no-kl": {"ppo.kl.beta": 0.0}})


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refused(root: Path, recipe: Recipe) -> str:
    """The message of the refusal, after which every byte in `root` is as before."""
    before = contents(root)
    with pytest.raises(RunError) as caught, open_run(root, recipe):
        pass
    assert contents(root) == before
    return str(caught.value)


def test_a_run_is_created_with_its_recipe_and_record(tmp_path: Path) -> None:
    with open_run(tmp_path / "runs" / "a", RECIPE) as run:
        assert run.lineage.stages == []
    assert set(contents(run.root)) == {"recipe.yaml", "run.json", ".lock"}
    written = read_yaml(run.recipe.read_text()).value
    assert written.pop("schema") == 2
    assert Recipe.model_validate(written) == RECIPE


def test_the_same_recipe_continues_and_keeps_every_file(tmp_path: Path) -> None:
    with open_run(tmp_path, RECIPE) as run:
        run.lineage.begin("sft", "sft", 1)
        run.stage("sft").reset()
        run.stage("sft").result.write_text("{}")
        run.lineage.finish("sft", {}, 1.5)
    before = contents(tmp_path)
    with open_run(tmp_path, RECIPE) as run:
        assert run.lineage.stage_state("sft") == "done"
        assert run.lineage.stage_state("ppo") == "pending"
    assert contents(tmp_path) == before
    assert RunDirectory(tmp_path).lineage.stage_state("sft") == "done"


def test_a_recipe_that_was_only_laid_out_otherwise_continues(tmp_path: Path) -> None:
    with open_run(tmp_path, RECIPE) as run:
        pass
    values = read_yaml(run.recipe.read_text()).value
    run.recipe.write_text("# a comment\n" + json.dumps(values, sort_keys=True))
    with open_run(tmp_path, RECIPE):
        pass


def test_a_run_of_an_older_truing_continues(tmp_path: Path) -> None:
    with open_run(tmp_path, RECIPE) as run:
        pass
    values = read_yaml(run.recipe.read_text()).value
    changes = values.pop("variants")["no-kl"]
    values["ppo"]["variants"] = {"no-kl": {key.removeprefix("ppo."): value for key, value in changes.items()}}
    for _, old, new in MOVED:
        if old != "ppo.variants":
            section, _, name = new.rpartition(".")
            assign(values, old, values[section][name])
    for section in ("rollout", "rewards", "evaluation"):
        values.pop(section)
    run.recipe.write_text(json.dumps(values))
    with open_run(tmp_path, RECIPE):
        pass
    assert "ppo.kl.beta: 0.05 → 0.1" in refused(tmp_path, with_changes(RECIPE, {"ppo.kl.beta": 0.1}))


def test_another_recipe_is_refused_with_what_differs(tmp_path: Path) -> None:
    with open_run(tmp_path, RECIPE):
        pass
    sources = [RewardConfig(kind="stage"), RewardConfig(kind="function", path="a:b", weight=0.5)]
    message = refused(tmp_path, Recipe(seed=2, ppo=Ppo(kl=Kl(beta=0.1)), rewards=Rewards(sources=sources)))
    assert message.startswith(f"{tmp_path}: holds the run of another recipe (")
    assert "seed: 1 → 2;" in message
    assert "ppo.kl.beta: 0.05 → 0.1;" in message
    assert 'rewards.sources.1.path: absent → "a:b";' in message
    variants = {"no-kl": {"ppo.kl.beta": False}}
    assert "variants.no-kl.ppo.kl.beta: 0.0 → false" in refused(tmp_path, Recipe(seed=2, variants=variants))
    assert message.endswith("Give another --out, or add --fork-to NEW to begin a run from the stages that still match.")


def test_only_ten_differences_are_shown(tmp_path: Path) -> None:
    with open_run(tmp_path, RECIPE):
        pass
    variants = {f"v{index}": {"ppo.gamma": 0.5} for index in range(12)}
    message = refused(tmp_path, RECIPE.model_copy(update={"variants": variants}))
    assert message.count("→") == 10
    assert "and 3 more)" in message  # twelve new variants, one that went


def test_a_section_that_was_empty_is_told_by_what_it_holds(tmp_path: Path) -> None:
    plain, varied = RECIPE.model_copy(update={"variants": {}}), with_changes(RECIPE, {"track": ["mlflow"]})
    with open_run(tmp_path, plain):
        pass
    told = 'holds the run of another recipe (variants.no-kl.ppo.kl.beta: absent → 0.0; track: [] → ["mlflow"]).'
    assert told in refused(tmp_path, varied)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for name in ("recipe.yaml", "notes.txt", ".hidden", "film.partial", ".film.partial"):
        place = tmp_path / name.replace(".", "_")
        place.mkdir()
        (place / name).write_text("seed: 1")
        assert "holds files, but no run of truing. Give another --out" in refused(place, RECIPE)
    assert "is a file, not a directory" in refused(tmp_path / "notes_txt" / "notes.txt", RECIPE)
    with (
        pytest.raises(RunError, match=r"notes\.txt: is a file, not a directory"),
        open_run(tmp_path / "notes_txt/notes.txt/a", RECIPE),
    ):
        pass


@pytest.mark.parametrize("below", ["", "runs/a"])
def test_a_link_that_leads_nowhere_is_told_as_one(tmp_path: Path, below: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert refused(tmp_path / "link" / below, RECIPE).startswith(f"{tmp_path / 'link'}: is a link that leads nowhere.")
    (tmp_path / "nowhere").mkdir()
    with open_run(tmp_path / "link" / below, RECIPE) as run:
        assert run.record.exists()


def test_a_run_whose_recipe_is_gone_or_broken_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path, RECIPE) as run:
        pass
    run.recipe.write_text("a: [")
    assert "the recipe of this run cannot be read" in refused(tmp_path, RECIPE)
    run.recipe.unlink()
    assert "the recipe of this run cannot be read" in refused(tmp_path, RECIPE)


def failing(error: TruingError, root: Path, act: Callable[[RunDirectory], object]) -> None:
    """A run that does something and is refused."""

    def work() -> None:
        with open_run(root, RECIPE) as run:
            run.lineage.plan([("sft", "sft")])
            act(run)
            raise error

    with pytest.raises(type(error)):
        work()


@pytest.mark.parametrize("existed", [False, True])
def test_a_new_run_that_is_refused_before_a_stage_begins_gives_its_directory_back(
    existed: bool, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    if existed:
        root.mkdir()
    failing(ModelError("no such model."), root, lambda run: (run.root / "prepared").mkdir())
    assert root.exists() == existed
    assert not existed or list(root.iterdir()) == []
    with open_run(root, RECIPE.model_copy(update={"seed": 2})):
        pass


@pytest.mark.parametrize("error", [ModelError("no such model."), InterruptedRunError("interrupted", 143)])
def test_one_whose_stage_has_begun_or_that_was_interrupted_keeps_it(error: TruingError, tmp_path: Path) -> None:
    failing(error, tmp_path, lambda run: isinstance(error, ModelError) and run.lineage.begin("sft", "sft", 1))
    before = contents(tmp_path)
    failing(ModelError("no such model."), tmp_path, lambda _: None)  # it was there before
    assert contents(tmp_path) == before


def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path, RECIPE):
        assert f"is in use by process {os.getpid()}" in refused(tmp_path, RECIPE)
    with open_run(tmp_path, RECIPE):
        pass


CRASH = """
import os, sys
from pathlib import Path
from truing.config.recipe import Recipe
from truing.runs.directory import open_run
calls = int(sys.argv[2])
passed = {name: getattr(os, name) for name in ("fsync", "replace")}
def counted(name):
    def call(*arguments):
        global calls
        calls -= 1
        if calls < 0:
            os._exit(9)
        return passed[name](*arguments)
    return call
for name in passed:
    setattr(os, name, counted(name))
with open_run(Path(sys.argv[1]), Recipe()):
    pass
"""


def test_a_creation_cut_short_anywhere_is_taken_up(tmp_path: Path) -> None:
    """Killed before its n-th fsync or rename, for each of the six of them; another recipe may not slip in."""
    codes = []
    for call in range(7):
        root = tmp_path / str(call)
        codes.append(subprocess.run([sys.executable, "-c", CRASH, str(root), str(call)]).returncode)
        if (root / "recipe.yaml").exists():
            assert "seed: 17 → 18" in refused(root, Recipe(seed=18))
        with open_run(root, Recipe()) as run:
            assert run.lineage.stages == []
        assert set(contents(root)) == {"recipe.yaml", "run.json", ".lock"}
    assert codes == [9] * 6 + [0]


def test_a_fresh_stage_is_empty_and_follows_no_links(tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").write_text("mine")
    with open_run(tmp_path / "run", RECIPE) as run:
        stage = run.stage("ppo-no-kl")
        stage.reset()
        (stage.root / "model" / "deep").mkdir(parents=True)
        (stage.root / "model" / "deep" / "half").write_text("h")
        stage.metrics.write_text("{")
        (stage.root / "link").symlink_to(treasure)
        stage.reset()
        assert list(stage.root.iterdir()) == []
    assert (treasure / "gold").read_text() == "mine"


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", ".", "..", ".lock", "/tmp", "a\n"])
def test_a_stage_name_cannot_lead_out_of_the_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, check=lambda error: error.code == "run/stage-name"):
        RunDirectory(tmp_path).stage(name)


def test_paths_are_those_of_the_design(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    stage = run.stage("ppo")
    paths = [run.recipe, run.record, run.report, stage.metrics, stage.samples, stage.result, stage.checkpoints]
    assert [str(path.relative_to(tmp_path)) for path in [*paths, stage.model, stage.adapter]] == [
        "recipe.yaml",
        "run.json",
        "report.html",
        "ppo/metrics.jsonl",
        "ppo/samples.jsonl",
        "ppo/result.json",
        "ppo/checkpoints",
        "ppo/model",
        "ppo/adapter",
    ]


def test_the_room_is_entered_without_torch() -> None:
    rooms = "directory, files, lock, lineage, metrics, trackers, progress"
    program = (
        f"import sys; from truing.runs import {rooms}; print({{'torch', 'transformers', 'numpy'}} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "set()"
