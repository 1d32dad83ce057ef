"""What a recipe leaves out is chosen once, recorded, kept by a stage that goes on, and told."""

import re
from pathlib import Path

import pytest
import tiny

from truing.config import with_changes
from truing.config.defaults import ON_CPU, as_begun
from truing.config.plan import plan
from truing.config.sections import Source
from truing.core.errors import RunError
from truing.pipeline.choices import chosen_for
from truing.pipeline.execute import run_pipeline
from truing.pipeline.launching import launch_remarks
from truing.report.page import write_report
from truing.runs.lineage import StageRecord
from truing.runs.metrics import read_jsonl
from truing.runs.progress import SilentProgress

LEFT_OUT = {"sft.epochs": None, "sft.batch_size": None, "sft.optimiser.learning_rate": None, "stages": ["sft"]}
CHOSEN = {"sft.optimiser.learning_rate": 3e-3, "sft.epochs": 3, "sft.batch_size": 8}
"""For adapters on a base of thousands of parameters and 22 rows"""


def test_a_run_learns_with_what_was_chosen_and_says_so(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **LEFT_OUT, **{"sft.optimiser.warmup": 0.0, "sft.optimiser.schedule": "constant"})
    run = run_pipeline(recipe, tmp_path / "run", SilentProgress())
    record = run.lineage.record("sft")
    assert record is not None
    assert record.chosen == CHOSEN
    rows = read_jsonl(run.stage("sft").metrics)
    assert rows[-1]["step"] == 9  # 3 passes of 22 rows by 8
    assert {row["learning_rate"] for row in rows[1:]} == {3e-3}
    (remark,) = record.remarks or []
    assert remark.startswith("learning rate 0.003, 3 epochs, batches of 8, by default for adapters on a base of ")
    assert remark.endswith(" parameters and 22 rows")


def test_a_stage_that_was_begun_keeps_its_choices(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **LEFT_OUT)
    (stage,) = plan(recipe)
    rows = tiny.prepared(recipe)
    begun = StageRecord("sft", "sft", "running", chosen={"sft.optimiser.learning_rate": 0.5})
    assert chosen_for(stage, rows, begun)[0] == {"sft.optimiser.learning_rate": 0.5}
    assert chosen_for(stage, rows, None)[0] == CHOSEN


def test_what_is_named_is_obeyed_and_nothing_is_said(tmp_path: Path) -> None:
    recipe = with_changes(tiny.recipe(tmp_path), {"stages": ["sft"]})
    (stage,) = plan(recipe)
    assert chosen_for(stage, tiny.prepared(recipe), None) == ({}, [])


def test_a_small_base_has_one_thread_unless_the_recipe_names_another_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    monkeypatch.setattr("torch.set_num_threads", used.append)
    recipe = tiny.recipe(tmp_path, **{"stages": ["sft"], "compute.threads": None})
    run = run_pipeline(recipe, tmp_path / "run", SilentProgress())
    record = run.lineage.record("sft")
    assert record is not None
    assert (record.chosen, record.threads) == ({"compute.threads": 1}, 1)
    (remark,) = record.remarks or []
    assert re.fullmatch(r"1 thread, by default for a base of [\d.]+K parameters", remark)
    assert used == [1, 3]
    (shown,) = re.findall(r"threads</t[dh]>\s*<td>(.*?)</td>", write_report(run.root).read_text(encoding="utf-8"))
    assert shown == "1"


def test_rows_that_are_left_out_are_not_counted(tmp_path: Path) -> None:
    """Of 24 rows 2 are held out; of 2,000 more, each too long, nothing is learnt, and so they make no fewer passes."""
    recipe = tiny.recipe(tmp_path, **LEFT_OUT, **{"data.too_long": "drop"})
    long = [{"prompt": f"{row} " + "e" * 70, "completion": "a"} for row in range(2000)]
    heldout = tiny.write_rows(tmp_path / "heldout.jsonl", tiny.demonstrations()[22:])
    tiny.write_rows(tmp_path / "demonstrations.jsonl", [*long, *tiny.demonstrations()[:22]])
    recipe = with_changes(recipe, {"data.heldout_demonstrations": Source(path=str(heldout)).model_dump()})
    (stage,) = plan(recipe)
    chosen, (said, *_) = chosen_for(stage, tiny.prepared(recipe), None)
    assert chosen == CHOSEN
    assert said.endswith(" parameters and 22 rows")


def test_several_processes_are_told_of_a_base_that_one_is_sooner_done_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path)
    assert launch_remarks(recipe) == []
    monkeypatch.setattr("truing.processes.group.size", lambda: 2)
    (told,) = launch_remarks(recipe)
    count = sum(weight.numel() for weight in tiny.model().parameters())
    assert told.startswith(f"2 processes share the work of a base of {count / 1000:.3g}K parameters: below about 1M, ")
    monkeypatch.setattr("truing.preflight.launching.PROCESSES_PAY_FROM", count)
    assert launch_remarks(recipe) == []


def test_threads_may_be_named_for_a_run_that_was_begun(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"stages": ["sft"], "compute.threads": None})
    (stage,) = plan(with_changes(recipe, {"compute.threads": 3}))
    begun = StageRecord("sft", "sft", "running", chosen={"compute.threads": 1, "sft.epochs": 2})
    assert chosen_for(stage, tiny.prepared(recipe), begun) == ({"sft.epochs": 2}, [])
    run_pipeline(recipe, tmp_path / "run", SilentProgress())
    run = run_pipeline(with_changes(recipe, {"compute.threads": 1}), tmp_path / "run", SilentProgress())
    assert run.lineage.stage_state("sft") == "done"


def test_a_run_that_was_begun_before_they_were_chosen_goes_on_with_what_it_had(tmp_path: Path) -> None:
    fixed = {"sft.epochs": 1, "sft.batch_size": 32, "sft.optimiser.learning_rate": 2e-4}
    recipe = with_changes(tiny.recipe(tmp_path), {"stages": ["sft"], **fixed})
    run_pipeline(recipe, tmp_path / "run", SilentProgress())
    before = (tmp_path / "run" / "run.json").read_bytes()
    run = run_pipeline(with_changes(recipe, dict.fromkeys(fixed)), tmp_path / "run", SilentProgress())
    assert run.recorded == recipe
    assert run.record.read_bytes() == before


def test_what_is_left_to_the_device_is_recorded_kept_and_told_where_it_is_not_as_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = dict.fromkeys(ON_CPU, None) | {"compute.dtype": "auto"}
    (stage,) = plan(with_changes(tiny.recipe(tmp_path, **auto), {"stages": ["sft"]}))
    rows = tiny.prepared(stage.recipe)
    assert chosen_for(stage, rows, None) == (ON_CPU, [])
    large = ON_CPU | {"compute.dtype": "bfloat16", "compute.learn_tokens": 16_384}
    monkeypatch.setattr("truing.pipeline.choices.sizes_of", lambda *_: large)
    assert chosen_for(stage, rows, None) == (large, ["bfloat16, learn_tokens 16,384, by default on cpu"])
    begun = StageRecord("sft", "sft", "running", chosen=ON_CPU)
    assert chosen_for(stage, rows, begun) == (ON_CPU, [])


def test_a_run_that_was_begun_when_they_were_fixed_keeps_them(tmp_path: Path) -> None:
    auto = with_changes(tiny.recipe(tmp_path), dict.fromkeys(ON_CPU, None) | {"compute.dtype": "auto"})
    assert as_begun(auto, with_changes(auto, ON_CPU)) == with_changes(auto, ON_CPU)
    assert as_begun(auto, with_changes(auto, {"compute.learn_tokens": 77})) == auto


def test_other_values_make_it_another_run(tmp_path: Path) -> None:
    recipe = with_changes(tiny.recipe(tmp_path), {"stages": ["sft"], "sft.epochs": 2})
    run_pipeline(recipe, tmp_path / "run", SilentProgress())
    with pytest.raises(RunError, match=r"sft.epochs: 2 → null"):
        run_pipeline(with_changes(recipe, {"sft.epochs": None}), tmp_path / "run", SilentProgress())
