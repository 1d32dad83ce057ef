import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers

from truing.config.recipe import Recipe
from truing.config.sections import Compute
from truing.core.errors import RunError
from truing.runs import lineage as module
from truing.runs.lineage import Lineage, StageRecord, fingerprint


def content(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text())
    assert isinstance(value, dict)
    return value


def test_a_new_record_says_what_the_run_is_made_of(tmp_path: Path) -> None:
    Lineage.create(tmp_path / "run.json", Recipe(seed=5, compute=Compute(threads=3)))
    record = content(tmp_path / "run.json")
    assert (record["seed"], record["threads"], record["inputs"], record["stages"]) == (5, 3, {}, [])
    for package in (torch, transformers, numpy):
        assert record["versions"][package.__name__] == package.__version__


def test_a_stage_goes_from_pending_to_running_to_done_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    lineage = Lineage.create(path, Recipe())
    lineage.plan([("sft", "sft"), ("ppo", "ppo"), ("ppo-no-kl", "ppo")])
    assert lineage.stage_state("sft") == lineage.stage_state("never heard of") == "pending"
    lineage.begin("sft", "sft", 1)
    assert Lineage.read(path).stage_state("sft") == "running"
    lineage.finish("sft", {"model/a": "0"}, 0.25)
    again = Lineage.read(path)
    assert [(stage.name, stage.kind, stage.state) for stage in again.stages] == [
        ("sft", "sft", "done"),
        ("ppo", "ppo", "pending"),
        ("ppo-no-kl", "ppo", "pending"),
    ]
    stage = again.stages[0]
    assert stage.started
    assert stage.finished
    assert (stage.seconds, stage.threads) == (0.25, 1)
    started, finished = datetime.fromisoformat(stage.started), datetime.fromisoformat(stage.finished)
    assert started.utcoffset() is not None
    assert started <= finished


def test_an_interrupted_stage_starts_over_and_a_done_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    Lineage.create(path, Recipe()).begin("sft", "sft", 1)
    lineage = Lineage.read(path)
    lineage.plan([("sft", "sft")])
    assert lineage.stage_state("sft") == "running"
    lineage.begin("sft", "sft", 1)
    lineage.finish("sft", {"model/a": "0"}, 0.25)
    before = path.read_bytes()
    with pytest.raises(RunError, check=lambda error: error.code == "run/stage-done"):
        lineage.begin("sft", "sft", 1)
    assert path.read_bytes() == before
    with pytest.raises(KeyError):
        Lineage.read(path).finish("sft", {}, 0.25)  # not begun by this process


def test_a_run_that_goes_on_elsewhere_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, recipe = tmp_path / "run.json", Recipe(compute=Compute(threads=1))
    Lineage.create(path, recipe)
    before = path.read_bytes()
    Lineage.read(path).go_on(recipe)
    assert path.read_bytes() == before
    monkeypatch.setattr(module, "versions", lambda: {"torch": "99.0"})
    for _ in range(2):
        Lineage.read(path).go_on(recipe)
    (change,) = content(path)["continued"]
    assert change["versions"] == {"torch": "99.0"}
    assert content(path)["versions"]["torch"] == torch.__version__


def test_fingerprints_are_hashes_of_files_or_the_id_of_what_is_no_path(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "deep").mkdir(parents=True)
    (model / ".cache").mkdir()
    for name in ("config.json", "deep/weights", ".cache/junk", ".hidden"):
        (model / name).write_text(name)
    file = str(model / "config.json")
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("config.json", "deep/weights")}
    assert fingerprint(str(model)) == {"path": str(model), "files": hashes}
    assert fingerprint(file) == {"path": file, "sha256": hashes["config.json"]}
    assert fingerprint("owner/name") == {"hub": "owner/name"}
    assert fingerprint("owner/name", "a1b2") == {"hub": "owner/name", "revision": "a1b2"}


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ({"path": "a", "sha256": "1"}, {"path": "b", "sha256": "1"}, True),
        ({"path": "a", "sha256": "1"}, {"path": "a", "sha256": "2"}, False),
        ({"path": "a", "files": {"x": "1"}}, {"path": "a", "files": {"x": "1", "y": "2"}}, False),
        ({"path": "a", "sha256": "1"}, {"hub": "a"}, False),
        ({"hub": "a"}, {"hub": "a", "revision": "1"}, True),
        ({"hub": "a", "revision": "2"}, {"hub": "a", "revision": "1"}, False),
    ],
)
def test_changed_inputs_are_refused_by_name(tmp_path: Path, old: Any, new: Any, same: bool) -> None:
    path = tmp_path / "run.json"
    Lineage.create(path, Recipe()).record_inputs({"base": {"hub": "b"}, "data.prompts": old})
    before = path.read_bytes()
    lineage = Lineage.read(path)
    if same:
        lineage.record_inputs({"base": {"hub": "b"}, "data.prompts": new})
    else:
        with pytest.raises(RunError, match=r"other content of data\.prompts\."):
            lineage.record_inputs({"base": {"hub": "b"}, "data.prompts": new})
        assert path.read_bytes() == before


def _model(place: Path, **files: str) -> Path:
    place.mkdir()
    for name, text in {"config.json": "{}", "model.safetensors": "1", "README.md": "a"}.items():
        (place / name).write_text(text)
    for name, text in files.items():
        (place / f"{name}.json").write_text(text)
    return place


@pytest.mark.parametrize("file", ["generation_config.json", "README.md", "LICENSE", "figures/loss.png"])
def test_a_file_that_only_stands_beside_a_model_may_be_mended_and_that_is_recorded(tmp_path: Path, file: str) -> None:
    model = _model(tmp_path / "model", generation_config='{"eos_token_id": 2, "temperature": 0.9}')
    path = tmp_path / "run.json"
    Lineage.create(path, Recipe()).record_inputs({"base": fingerprint(str(model))})
    assert "mended" not in json.loads(path.read_text())
    (model / file).parent.mkdir(exist_ok=True)
    (model / file).write_text('{"eos_token_id": [2], "do_sample": true, "temperature": 0.9}')
    for found in ([f"base/{file}"], []):  # once
        assert Lineage.read(path).record_inputs({"base": fingerprint(str(model))}) == found
    (told,) = json.loads(path.read_text())["mended"]
    assert told["files"] == [f"base/{file}"]


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("generation_config", '{"eos_token_id": [2, 7]}', r"base/generation_config\.json, \S+: \[2\] → \[2, 7\]"),
        ("tokenizer", "{}", r"base/tokenizer\.json: absent → "),
        ("config", '{"hidden_size": 2}', r"base/config\.json: "),
    ],
)
def test_what_a_result_can_depend_on_may_not(tmp_path: Path, file: str, text: str, told: str) -> None:
    model = _model(tmp_path / "model", generation_config='{"eos_token_id": 2}')
    lineage = Lineage.create(tmp_path / "run.json", Recipe())
    lineage.record_inputs({"base": fingerprint(str(model))})
    (model / "README.md").write_text("b")
    (model / f"{file}.json").write_text(text)
    with pytest.raises(RunError, match=rf"Changed: {told}[^;]*\. Put"):
        lineage.record_inputs({"base": fingerprint(str(model))})


def test_a_record_of_an_older_version_that_knows_no_end_tokens_goes_on(tmp_path: Path) -> None:
    model = _model(tmp_path / "model", generation_config='{"eos_token_id": 2}')
    lineage = Lineage.create(tmp_path / "run.json", Recipe())
    now = fingerprint(str(model))
    lineage.record_inputs({"base": {key: value for key, value in now.items() if key != "ends"}})
    assert lineage.record_inputs({"base": now}) == []


def test_a_file_that_is_gone_is_told_as_gone(tmp_path: Path) -> None:
    lineage = Lineage.create(tmp_path / "run.json", Recipe())
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}")
    lineage.record_inputs({"data.prompts": fingerprint(str(rows))})
    rows.unlink()
    with pytest.raises(RunError, match=rf"data\.prompts \({rows}\): gone"):
        lineage.record_inputs({"data.prompts": fingerprint(str(rows))})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ppo.rewards.0", "rewards.sources.0"),
        ("dpo.rewards.1", "rewards.sources.1"),
        ("ppo-other_one.rewards.0", "variants.other_one.rewards.sources.0"),
    ],
)
def test_a_reward_that_changed_since_an_older_version_is_refused(old: str, new: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    Lineage.create(path, Recipe()).record_inputs({old: {"path": "a", "sha256": "1"}})
    with pytest.raises(RunError) as caught:
        Lineage.read(path).record_inputs({new: {"path": "a", "sha256": "2"}})
    assert caught.value.code == "run/other-inputs"
    assert new in str(caught.value)
    Lineage.read(path).record_inputs({new: {"path": "a", "sha256": "1"}})


@pytest.mark.parametrize("text", ["[]", "{}", '{"stages": [{"x": 1}], "inputs": {}}', '{"stages": []}', "{"])
def test_a_record_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json: is no"):
        Lineage.read(tmp_path / "run.json")


def test_a_record_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    lineage = Lineage.create(path, Recipe())

    class Crash(BaseException):
        pass

    def crash(*_: object) -> None:
        raise Crash

    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(Crash):
        lineage.begin("sft", "sft", 1)
    assert Lineage.read(path).stages == []
    assert lineage.stages == [StageRecord("sft", "sft", "running", started=lineage.stages[0].started, threads=1)]
