"""A new run takes over the stages that it would only repeat, and ends as if it had run them all itself."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import tiny

from truing.config.dotted import assign
from truing.config.recipe import Recipe
from truing.core.errors import RunError
from truing.pipeline.execute import run_pipeline
from truing.pipeline.fork import changes, matching
from truing.report import write_report
from truing.runs.directory import RunDirectory, open_run
from truing.runs.files import read_json
from truing.runs.lineage import Lineage, fingerprint
from truing.runs.progress import SilentProgress

JUDGE = "def score(prompts, responses):\n    return [float(len(response)) for response in responses]\n"
STAGES = ["sft", "reward", "ppo", "ppo-low", "dpo"]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """A finished run of every stage."""
    place = tmp_path_factory.mktemp("old")
    (place / "judge.py").write_text(JUDGE)
    changes = {"stages": ["sft", "reward", "ppo", "dpo"], "ppo.updates": 1, "variants": {"low": {"ppo.kl.beta": 0.01}}}
    recipe = tiny.recipe(place, **changes, **{"evaluation.judges": {"length": f"{place / 'judge.py'}:score"}})
    run_pipeline(recipe, place / "run", SilentProgress())
    return recipe, place / "run"


def changed(recipe: Recipe, **changes: Any) -> Recipe:
    document = recipe.model_dump()
    for key, value in changes.items():
        assign(document, key, value)
    return Recipe.model_validate(document)


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, STAGES),
        ({"name": "other", "checkpoints.keep_last": 5, "compute.learn_tokens": 7}, STAGES),
        ({"ppo.kl.beta": 0.5}, ["sft", "reward", "ppo-low", "dpo"]),  # the variant's own beta is as it was
        ({"variants": {"low": {"ppo.kl.beta": 0.02}, "high": {"ppo.kl.beta": 1.0}}}, ["sft", "reward", "ppo", "dpo"]),
        ({"rollout.max_new_tokens": 5}, ["sft"]),
        ({"dpo.beta": 0.5}, ["sft", "reward", "ppo", "ppo-low"]),
        ({"reward.epochs": 1}, ["sft"]),
        ({"stages": ["sft", "ppo"], "rewards.sources": [{"kind": "function", "path": "a:b"}]}, ["sft"]),
        ({"evaluation.judges": {}}, ["sft", "reward"]),
        ({"functions.seconds": 30.0}, ["sft", "reward"]),
        ({"functions.batch_size": 4}, ["sft", "reward"]),
        ({"sft.epochs": 1}, []),
        ({"seed": 18}, []),
        ({"lora.rank": 3}, []),
        ({"lora.layers": 0.5}, ["sft", "reward"]),
        ({"compute.dtype": "bfloat16"}, []),
        ({"data.max_length": 100}, []),
    ],
    ids=str,
)
def test_a_stage_matches_if_all_that_it_reads_does(
    old: tuple[Recipe, Path], tmp_path: Path, changes: dict[str, Any], kept: list[str]
) -> None:
    recipe, root = old
    with open_run(tmp_path / "new", changed(recipe, **changes)) as new:
        inputs = read_json(root / "run.json")["inputs"]
        judged = "evaluation.judges" not in changes
        new.lineage.record_inputs({name: value for name, value in inputs.items() if judged or "judges" not in name})
        assert matching(RunDirectory(root), new) == kept


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("base", []),
        ("data.demonstrations", []),
        ("data.preferences", ["sft"]),
        ("evaluation.judges.length", ["sft", "reward"]),
    ],
)
def test_a_stage_matches_only_if_its_inputs_do(
    old: tuple[Recipe, Path], tmp_path: Path, name: str, kept: list[str]
) -> None:
    recipe, root = old
    with open_run(tmp_path / "new", recipe) as new:
        inputs = read_json(root / "run.json")["inputs"]
        (tmp_path / "file").write_text("other")
        new.lineage.record_inputs(inputs | {name: fingerprint(str(tmp_path / "file"))})
        assert matching(RunDirectory(root), new) == kept


def test_an_unfinished_stage_is_not_taken_over(old: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, root = old
    record = json.loads((root / "run.json").read_text())
    record["stages"][1]["state"] = "running"
    shutil.copytree(root / "sft", tmp_path / "half" / "sft")
    (tmp_path / "half" / "run.json").write_text(json.dumps(record))
    (tmp_path / "half" / "recipe.yaml").write_bytes((root / "recipe.yaml").read_bytes())
    with open_run(tmp_path / "new", recipe) as new:
        new.lineage.record_inputs(record["inputs"])
        assert matching(RunDirectory(tmp_path / "half"), new) == ["sft"]


def _stage(root: Path, name: str) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in (root / name).rglob("*") if file.is_file()}


def test_a_fork_ends_as_a_run_of_its_own_and_leaves_the_old_one_alone(old: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, root = old
    before = _stage(root, ".")
    other = changed(recipe, **{"ppo.kl.beta": 0.5, "stages": ["sft", "reward", "ppo"], "variants": {}})
    run_pipeline(other, tmp_path / "fork", SilentProgress(), fork_of=root)
    run_pipeline(other, tmp_path / "own", SilentProgress())
    assert RunDirectory(tmp_path / "own").lineage.changes == []
    differ = RunDirectory(tmp_path / "fork").lineage.changes
    assert {"ppo.kl.beta: 0.05 → 0.5", "variants.low.ppo.kl.beta: 0.01 → absent"} <= set(differ)
    title = re.search("<h1>(.*)</h1>", write_report(tmp_path / "fork").read_text())
    assert title is not None
    assert title[1].startswith("run · ")
    assert "ppo.kl.beta: 0.05 → 0.5" in title[1]
    assert _stage(root, ".") == before
    for name in ("sft", "reward"):
        assert _stage(tmp_path / "fork", name) == _stage(root, name)
    assert _stage(tmp_path / "fork", "ppo/model") == _stage(tmp_path / "own", "ppo/model")
    taken = {stage.name: stage.taken_from for stage in RunDirectory(tmp_path / "fork").lineage.stages}
    assert taken == {"sft": str(root), "reward": str(root), "ppo": None}
    run_pipeline(other, tmp_path / "fork", SilentProgress(), fork_of=root)  # it is finished: nothing happens


def test_a_kill_between_a_copy_and_its_record_is_made_good(
    old: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, root = old
    with monkeypatch.context() as cut:
        cut.setattr(Lineage, "take_over", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_pipeline(recipe, tmp_path / "fork", SilentProgress(), fork_of=root)
    assert (tmp_path / "fork" / "sft").is_dir()
    run_pipeline(recipe, tmp_path / "fork", SilentProgress(), fork_of=root)
    taken = {stage.name: stage.taken_from for stage in RunDirectory(tmp_path / "fork").lineage.stages}
    assert taken == dict.fromkeys(STAGES, str(root))
    assert _stage(tmp_path / "fork", "sft") == _stage(root, "sft")


def test_a_run_cannot_be_forked_into_itself_or_from_nothing(old: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, root = old
    with pytest.raises(RunError, check=lambda error: error.code == "run/fork-onto-itself"):
        run_pipeline(recipe, root, SilentProgress(), fork_of=root)
    with pytest.raises(RunError, match="there is no such directory"):
        run_pipeline(recipe, tmp_path / "new", SilentProgress(), fork_of=tmp_path / "none")


@pytest.mark.parametrize(("new", "told"), [("run/sft/new", "lies in"), ("run/new", "lies in"), (".", "contains")])
def test_neither_of_a_run_and_its_fork_lies_in_the_other(old: tuple[Recipe, Path], new: str, told: str) -> None:
    recipe, root = old
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(RunError, match=f"{told} the run to begin from, .*run. Give a --fork-to beside it") as refused:
        run_pipeline(recipe, root.parent / new, SilentProgress(), fork_of=root)
    assert refused.value.exit_code == 2
    assert sorted(root.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (
            "judge.py",
            r"Changed: evaluation\.judges\.length \({place}/judge\.py\): [0-9a-f]{8} → ",
        ),
        (
            "preferences.jsonl",
            r"Changed: data\.preferences \({place}/preferences\.jsonl\): [0-9a-f]{8} → ",
        ),
        ("base/config.json", r"of base\. Changed: base/config\.json: [0-9a-f]{8} → [0-9a-f]{8}\. Put"),
        ("base/tokenizer.json", r"Changed: base/tokenizer\.json: [0-9a-f]{8} → [0-9a-f]{8}\. Put .*--fork-to NEW"),
        ("base/more.json", r'Changed: base/more\.json: absent → "[0-9a-f]{8}"|absent → [0-9a-f]{8}\. Put'),
    ],
)
def test_a_changed_input_is_refused_with_what_changed(old: tuple[Recipe, Path], file: str, told: str) -> None:
    recipe, root = old
    changed_file = root.parent / file
    before = changed_file.read_bytes() if changed_file.exists() else None
    try:
        changed_file.write_bytes((before or b"{}") + b"\n")
        with pytest.raises(RunError, match=told.replace("{place}", re.escape(str(root.parent)))):
            run_pipeline(recipe, root, SilentProgress())
    finally:
        changed_file.unlink() if before is None else changed_file.write_bytes(before)
    run_pipeline(recipe, root, SilentProgress())


def test_a_fork_tells_other_content_and_no_folders(old: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, root = old
    (tmp_path / "rows.jsonl").write_bytes((root.parent / "demonstrations.jsonl").read_bytes() * 2)
    other = changed(
        recipe, name="other", **{"data.demonstrations.path": str(tmp_path / "rows.jsonl"), "evaluation.judges": {}}
    )
    with open_run(tmp_path / "new", other) as new:
        inputs = read_json(root / "run.json")["inputs"]
        new.lineage.record_inputs(
            {"data.demonstrations": fingerprint(str(tmp_path / "rows.jsonl")), "base": inputs["base"]}
        )
        assert changes(RunDirectory(root), new) == [
            'data.demonstrations.path: "demonstrations.jsonl" → "rows.jsonl"',
            'evaluation.judges.length: "judge.py:score" → absent',
            "other data.demonstrations",
        ]


@pytest.mark.parametrize(
    ("changes", "kept"), [({}, ["sft"]), ({"other": "pairs"}, []), ({"sft.data": "demonstrations"}, [])]
)
def test_sft_on_the_chosen_side_rests_on_the_pairs(changes: dict[str, Any], kept: list[str], tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"stages": ["sft"], "sft.data": "preferences", "sft.epochs": 1})
    root = tmp_path / "run"
    run_pipeline(recipe, root, SilentProgress())
    other = changes.pop("other", None)
    with open_run(tmp_path / "new", changed(recipe, **changes)) as new:
        inputs = read_json(root / "run.json")["inputs"]
        (tmp_path / "file").write_text("other")
        own = {"data.preferences": fingerprint(str(tmp_path / "file"))} if other else {}
        new.lineage.record_inputs(inputs | own)
        assert matching(RunDirectory(root), new) == kept
