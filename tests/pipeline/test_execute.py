"""A whole run, from a recipe to a report: what it leaves behind, that it goes on, and that it does the same again."""

import csv
import io
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import promised
import pytest
import tiny
import torch
from peft import PeftModel
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from truing.config.plan import plan
from truing.config.recipe import Recipe
from truing.config.sections import Base
from truing.config.stages import STAGES
from truing.core.errors import RewardError, RunError, TrainingError
from truing.pipeline.execute import run_pipeline, start_of
from truing.report import write_report
from truing.runs.directory import RunDirectory, StageDirectory
from truing.runs.files import read_json
from truing.runs.metrics import read_jsonl
from truing.runs.progress import LineProgress, SilentProgress
from truing.training.job import Job

VARIANT = {"variants": {"no-kl": {"ppo.kl.beta": 0.0}}}
Train = Callable[[Job], dict[str, Any]]


def _run(recipe: Recipe, root: Path) -> RunDirectory:
    return run_pipeline(recipe, root, SilentProgress())


def _wrap_stages(patch: pytest.MonkeyPatch, wrap: Callable[[Train], Train]) -> None:
    """Puts something around what trains, in every kind of stage."""
    for spec in STAGES.values():
        module, _, function = spec.train.partition(":")
        patch.setattr(import_module(module), function, wrap(spec.load(spec.train)))


def _run_until(recipe: Recipe, root: Path, last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose stage of this name fails as it begins."""

    def failing(train: Train) -> Train:
        def maybe(job: Job) -> dict[str, Any]:
            if job.name == last:
                raise TrainingError("the loss became nan.")
            return train(job)

        return maybe

    with monkeypatch.context() as patched:
        _wrap_stages(patched, failing)
        with pytest.raises(TrainingError):
            _run(recipe, root)


def _states(root: Path) -> dict[str, str]:
    return {stage.name: stage.state for stage in RunDirectory(root).lineage.stages}


def _contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if not key.endswith("_s")} for row in rows]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """A run of every stage and a variant, done."""
    place = tmp_path_factory.mktemp("finished")
    recipe = tiny.recipe(place, **VARIANT, **{"evaluation.judges": {"letters": "letters:letter_a"}})
    _run(recipe, place / "run")
    return recipe, place / "run"


def test_every_stage_leaves_what_is_promised(finished: tuple[Recipe, Path]) -> None:
    _, root = finished
    assert _states(root) == {"sft": "done", "reward": "done", "ppo": "done", "ppo-no-kl": "done"}
    for name in _states(root):
        kind = name.split("-")[0]
        files = RunDirectory(root).stage(name)
        assert read_json(files.result).keys() >= promised.RESULT[kind]
        auto = AutoModelForSequenceClassification if kind == "reward" else AutoModelForCausalLM
        auto.from_pretrained(files.model)
        AutoTokenizer.from_pretrained(files.model)
        if kind == "ppo":
            assert all(row.keys() >= promised.PPO_METRICS for row in read_jsonl(files.metrics)[1:])
    assert "<html" in write_report(root).read_text(encoding="utf-8")
    inputs = {"base", "data.demonstrations", "data.preferences", "evaluation.judges.letters"}
    assert read_json(root / "run.json")["inputs"].keys() == inputs


@pytest.mark.parametrize(("method", "last"), [("lora", "ppo"), ("full", "dpo")])
def test_a_gguf_base_is_learnt_from_to_the_end(method: str, last: str, tmp_path: Path) -> None:
    base = Base(path=str(tiny.gguf_directory(tmp_path / "gguf")), gguf_file="model.gguf")
    stages = ["sft", "reward", "ppo"] if last == "ppo" else ["sft", "dpo"]
    recipe = tiny.recipe(tmp_path, base=base.model_dump(), stages=stages, **{"sft.method": method})
    _run(recipe, tmp_path / "run")
    tokens = torch.arange(30)[None]
    read = AutoModelForCausalLM.from_pretrained(base.path, gguf_file=base.gguf_file, dtype=torch.float32)
    sft, after = (AutoModelForCausalLM.from_pretrained(tmp_path / "run" / name / "model") for name in ("sft", last))
    with torch.no_grad():
        untrained, tuned, aligned = (model(tokens).logits[..., : tiny.VOCABULARY] for model in (read, sft, after))
        if method == "lora":
            adapted = PeftModel.from_pretrained(read, tmp_path / "run" / "sft" / "adapter")(tokens).logits
            torch.testing.assert_close(tuned, adapted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(untrained, tuned, atol=1e-2)
    assert not torch.equal(tuned, aligned)


def test_a_variant_is_the_stage_with_its_changes(finished: tuple[Recipe, Path]) -> None:
    _, root = finished
    held, free = (read_jsonl(root / name / "metrics.jsonl") for name in ("ppo", "ppo-no-kl"))
    assert [row["beta"] for row in held[1:]] == [0.05, 0.05]
    assert [row["beta"] for row in free[1:]] == [0.0, 0.0]
    assert held[0] == free[0]  # both begin with the same evaluation of the same model


def test_a_variant_of_an_early_stage_repeats_those_that_build_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: dict[str, Any] = {}
    _wrap_stages(monkeypatch, lambda train: lambda job: (used.update({job.name: job.reward}), train(job))[1])
    changes = {"stages": ["reward", "ppo"], "ppo.updates": 1, "variants": {"once": {"reward.epochs": 1}}}
    root = _run(tiny.recipe(tmp_path, **changes), tmp_path / "run").root
    assert list(used) == ["reward", "reward-once", "ppo", "ppo-once"]
    assert used["ppo"].model == root / "reward" / "model"
    assert used["ppo-once"].model == root / "reward-once" / "model"
    assert (
        read_json(root / "reward-once" / "result.json")["steps"] < read_json(root / "reward" / "result.json")["steps"]
    )


def test_a_finished_run_does_nothing_and_says_so(
    finished: tuple[Recipe, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, root = finished
    monkeypatch.setattr("truing.runs.lineage.versions", lambda: {"truing": "later"})  # which a run that goes on records
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (root / "ppo").rglob("*")}
    contents = _contents(root)
    console = Console(file=io.StringIO(), width=1000)
    run_pipeline(recipe, root, LineProgress(console))
    assert console.file.getvalue() == f"{root}: every stage is done, so there is nothing left to run\n"
    assert _contents(root) == contents
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (root / "ppo").rglob("*")} == before


def test_another_recipe_is_refused_and_nothing_is_written_over(finished: tuple[Recipe, Path]) -> None:
    recipe, root = finished
    before = _contents(root)
    with pytest.raises(RunError, match=r"another recipe \(seed: 17 → 18\)"):
        _run(recipe.model_copy(update={"seed": 18}), root)
    assert _contents(root) == before


def test_where_a_run_cannot_be_is_told_before_anything_is_rehearsed(
    finished: tuple[Recipe, Path], tmp_path: Path
) -> None:
    def rehearsed(*_: object) -> str:
        pytest.fail("it was rehearsed")

    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "reel").touch()
    for name, code in {"link": "run/no-directory", "film": "run/not-a-run"}.items():
        with pytest.raises(RunError) as refused:
            run_pipeline(finished[0], tmp_path / name, SilentProgress(), rehearse=rehearsed)
        assert refused.value.code == code


def test_the_same_seed_makes_the_same_run_byte_for_byte(finished: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, root = finished
    _run(recipe, tmp_path)
    for name in _states(root):
        one, other = root / name, tmp_path / name
        assert _untimed(read_jsonl(one / "metrics.jsonl")) == _untimed(read_jsonl(other / "metrics.jsonl"))
        weights = [path.relative_to(one) for path in one.rglob("*.safetensors")]
        assert weights
        assert all((one / path).read_bytes() == (other / path).read_bytes() for path in weights)
        if name != "sft" and name != "reward":
            assert (one / "samples.jsonl").read_bytes() == (other / "samples.jsonl").read_bytes()


def test_another_seed_makes_another_run(finished: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, root = finished
    _run(recipe.model_copy(update={"seed": 18, "stages": ["sft"]}), tmp_path)
    one, other = (read_jsonl(place / "sft" / "metrics.jsonl") for place in (root, tmp_path))
    assert one[1]["loss"] != other[1]["loss"]


def test_an_interrupted_run_goes_on_from_the_last_finished_stage(
    finished: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, root = finished
    started: list[str] = []

    def watched(train: Train) -> Train:
        return lambda job: (started.append(job.name), train(job))[1]

    def broken(job: Job) -> dict[str, Any]:
        (job.directory.root / "half.txt").write_text("half")
        raise TrainingError("the loss became nan.")

    _wrap_stages(monkeypatch, watched)
    with monkeypatch.context() as patched:
        patched.setattr("truing.stages.reward.train_reward", broken)
        with pytest.raises(TrainingError):
            _run(recipe, tmp_path)
    assert _states(tmp_path) == {"sft": "done", "reward": "running", "ppo": "pending", "ppo-no-kl": "pending"}
    _run(recipe, tmp_path)
    assert started == ["sft", "reward", "ppo", "ppo-no-kl"]
    assert not (tmp_path / "reward" / "half.txt").exists()
    for name in _states(root):
        one, other = (read_jsonl(place / name / "metrics.jsonl") for place in (root, tmp_path))
        assert _untimed(one) == _untimed(other)


@pytest.mark.parametrize("file", ["model/model.safetensors", "model/config.json", "result.json"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_finished_stage_that_was_damaged_is_refused_and_begun_again_by_a_fork(
    file: str, gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft", "dpo"])
    _run_until(recipe, tmp_path / "run", "dpo", monkeypatch)
    whole, damaged = tmp_path / "run" / "sft", tmp_path / "run" / "sft" / file
    before = _contents(whole / "model")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    if gone:
        damaged.unlink()
    else:
        damaged.write_bytes(content)
    with pytest.raises(RunError, match="has been damaged or taken away since the stage sft ended") as caught:
        _run(recipe, tmp_path / "run")
    assert caught.value.where == str(damaged)
    run_pipeline(recipe, tmp_path / "fork", SilentProgress(), fork_of=tmp_path / "run")
    assert [stage.taken_from for stage in RunDirectory(tmp_path / "fork").lineage.stages] == [None, None]
    assert _contents(tmp_path / "fork" / "sft" / "model") == before


def test_a_hidden_file_is_no_part_of_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft", "dpo"])
    _run_until(recipe, tmp_path / "run", "dpo", monkeypatch)
    stage = StageDirectory(tmp_path / "run" / "sft")
    before = stage.contents()
    (stage.root / ".DS_Store").write_text("looked at")
    assert stage.contents() == before
    _run(recipe, tmp_path / "run")


def test_a_damaged_stage_that_nothing_waiting_builds_on_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path, **VARIANT)
    _run_until(recipe, tmp_path / "run", "ppo-no-kl", monkeypatch)
    (tmp_path / "run" / "ppo" / "model" / "model.safetensors").unlink()
    _run(recipe, tmp_path / "run")
    assert set(_states(tmp_path / "run").values()) == {"done"}


def test_data_that_changed_under_a_run_is_refused(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft"])
    _run(recipe, tmp_path / "run")
    tiny.write_rows(tmp_path / "demonstrations.jsonl", tiny.demonstrations(20))
    with pytest.raises(RunError, match=r"begun with other content of data\.demonstrations"):
        _run(recipe, tmp_path / "run")


def test_a_reward_that_changed_while_an_earlier_stage_ran_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "taste.py"
    file.write_text("def taste(prompts, responses):\n    return [1.0 for _ in responses]\n")
    source = {"kind": "function", "path": f"{file}:taste", "normalise": False}
    recipe = tiny.recipe(tmp_path, stages=["sft", "ppo"], **{"rewards.sources": [source]})

    def edited(train: Train) -> Train:
        def then(job: Job) -> dict[str, Any]:
            result = train(job)
            file.write_text("def taste(prompts, responses):\n    return [2.0 for _ in responses]\n")
            return result

        return then

    _wrap_stages(monkeypatch, edited)
    with pytest.raises(RunError) as caught:
        _run(recipe, tmp_path / "run")
    assert caught.value.code == "run/other-inputs"
    assert _states(tmp_path / "run") == {"sft": "done", "ppo": "pending"}


def test_a_finished_stage_that_today_is_built_on_one_that_is_not_there_is_left_as_it_is(tmp_path: Path) -> None:
    hot = {"variants": {"hot": {"rollout.temperature": 2.0}}}
    recipe = tiny.recipe(tmp_path, **hot)
    _run(recipe, tmp_path / "run")
    record = read_json(tmp_path / "run" / "run.json")
    record["stages"] = [stage for stage in record["stages"] if stage["name"] != "reward-hot"]  # as of an older truing
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError) as caught:
        _run(recipe, tmp_path / "run")
    assert caught.value.code == "run/older-plan"
    assert _states(tmp_path / "run")["ppo-hot"] == "done"


@pytest.mark.parametrize("where", ["judges", "reward", "variant"])
def test_a_function_that_cannot_be_imported_is_told_before_anything_is_written(where: str, tmp_path: Path) -> None:
    part = [{"kind": "function", "path": "no_such_module:score"}]
    changes: dict[str, Any] = {
        "judges": {"evaluation.judges": {"one": "no_such_module:score"}},
        "reward": {"rewards.sources": part},
        "variant": {"variants": {"other": {"rewards.sources": part}}},
    }[where]
    with pytest.raises(RewardError, match="no_such_module"):
        _run(tiny.recipe(tmp_path, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shape", "pad", "roles"),
    [
        ("gpt2", None, "shared"),
        ("gpt2", tiny.EOS, "separate"),
        ("qwen", "<|pad|>", "shared"),
    ],
)
def test_models_of_other_shapes_and_tokenizers_without_a_pad_run_through(
    shape: str, pad: str | None, roles: str, tmp_path: Path
) -> None:
    recipe = tiny.recipe(tmp_path, shape, pad, roles=roles, **{"evaluation.every": 1})
    root = _run(recipe, tmp_path / "run").root
    metrics = read_jsonl(root / "ppo" / "metrics.jsonl")
    assert abs(metrics[0]["heldout_kl"]) < 1e-4
    assert all(row["ratio_max_deviation"] < 1e-5 for row in metrics[1:])
    assert read_json(root / "reward" / "result.json")["heldout_accuracy"] == 1.0
    config = read_json(root / "ppo" / "model" / "config.json")
    assert config["pad_token_id"] != config["eos_token_id"]


@pytest.mark.parametrize(
    ("shape", "roles", "layers"),
    [("llama", "shared", 1.0), ("gpt2", "separate", 1.0), ("qwen", "shared", 0.5), ("gemma", "separate", 1.0)],
)
def test_layers_that_run_again_in_the_backward_do_not_change_what_is_learnt(
    shape: str, roles: str, layers: float, tmp_path: Path
) -> None:
    runs = []
    for on in (False, True):
        changes = {"roles": roles, "lora.layers": layers, "dpo.batch_size": 8, "compute.gradient_checkpointing": on}
        recipe = tiny.recipe(tmp_path, shape, stages=["sft", "reward", "ppo", "dpo"], **changes)
        run = _run(recipe, tmp_path / f"run-{on}")
        runs.append([read_jsonl(run.stage(name).metrics) for name in recipe.stages])
    for plain, again in zip(*runs, strict=True):
        assert len(plain) == len(again) > 2
        for one, other in zip(_untimed(plain), _untimed(again), strict=True):
            assert other == pytest.approx(one, rel=1e-3, abs=1e-5)


def test_every_stage_begins_with_a_base_quantised_as_the_recipe_says(tmp_path: Path) -> None:
    changes = {"base.quantize": "nf4", "base.trust_remote_code": True, "stages": list(STAGES)}
    recipe = tiny.recipe(tmp_path, **changes)
    run = RunDirectory(tmp_path / "run")
    starts = {stage.name: start_of(stage, run) for stage in plan(recipe)}
    assert starts.pop("sft") == recipe.base
    for start in starts.values():
        assert (start.path, start.quantize) == (str(run.stage("sft").model), "nf4")


def test_a_quantised_base_runs_through(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    recipe = tiny.recipe(tmp_path, stages=["sft", "reward", "ppo", "dpo"], **{"base.quantize": "nf4"})
    tiny.directory(tmp_path / "base", width=64)
    root = _run(recipe, tmp_path / "run").root
    assert set(_states(root).values()) == {"done"}
    for name in ("sft", "ppo", "dpo"):
        AutoModelForCausalLM.from_pretrained(root / name / "model")


def test_preferences_may_come_from_a_csv_and_stages_begin_with_the_base_where_there_is_no_sft(tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "chosen", "rejected"])
        writer.writeheader()
        writer.writerows(tiny.preferences())
    changes = {"data.preferences": {"path": str(table)}, "data.demonstrations": None}
    recipe = tiny.recipe(tmp_path, stages=["reward", "ppo"], **changes)
    root = _run(recipe, tmp_path / "run").root
    assert _states(root) == {"reward": "done", "ppo": "done"}
    assert read_json(root / "reward" / "result.json")["train_pairs"] == 22
    adapter = json.loads((root / "ppo" / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(tmp_path / "base")


def test_conversations_run_through_without_a_chat_template(tmp_path: Path) -> None:
    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    pairs = [
        {
            "prompt": [turn("user", row["prompt"])],
            "chosen": [turn("assistant", row["chosen"])],
            "rejected": [turn("assistant", row["rejected"])],
        }
        for row in tiny.preferences()
    ]
    recipe = tiny.recipe(tmp_path, stages=["reward", "ppo"], **{"data.demonstrations": None, "ppo.updates": 1})
    tiny.write_rows(tmp_path / "preferences.jsonl", pairs)
    samples = read_jsonl(_run(recipe, tmp_path / "run").root / "ppo" / "samples.jsonl")
    assert all(row["prompt"].startswith("user: ") for row in samples)


CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), CUBLAS, "allocate"])
def test_want_of_memory_is_told_with_the_fields_to_lower(error: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def greedy(job: Job) -> dict[str, Any]:
        if error == "allocate":
            torch.empty(2**60)
        raise error

    monkeypatch.setattr("truing.stages.sft.train_sft", greedy)
    with pytest.raises(TrainingError, match=r"^sft: .*not enough memory.*compute\.learn_tokens"):
        _run(tiny.recipe(tmp_path), tmp_path / "run")
    assert _states(tmp_path / "run")["sft"] == "running"


def test_a_directory_whose_name_no_file_may_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be used: file name too long"):
        run_pipeline(tiny.recipe(tmp_path), tmp_path / ("a" * 300), SilentProgress())
