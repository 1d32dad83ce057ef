"""What was exported is loaded by the library and held against the run, by logits, stops and card."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from huggingface_hub import ModelCard
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from truing.core.errors import ModelError, RunError
from truing.export.card import UNKNOWN_LICENCE
from truing.export.gguf import NAMES
from truing.export.result import Gguf, export_adapter, export_model, export_reward_model
from truing.pipeline.execute import run_pipeline
from truing.report.run_files import read_run
from truing.report.verdict import verdicts
from truing.results import open_result
from truing.runs.directory import RunDirectory
from truing.runs.files import sha256_file
from truing.runs.progress import SilentProgress
from truing.score import score_file

NOT_SHARED = "model/base-not-shared"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Of a base that says what licence it has."""
    place = tmp_path_factory.mktemp("exported")
    recipe = tiny.recipe(place, **{"ppo.updates": 1})
    (place / "base" / "README.md").write_text("---\nlicense: other\nlicense_name: letters\n---\n# Base\n")
    (place / "base" / "LICENSE").write_text("Letters may be used.\n")
    return run_pipeline(recipe, place / "run", SilentProgress())


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    place = tmp_path_factory.mktemp("exported-chat")
    return run_pipeline(tiny.chat_recipe(place, stages=["sft", "dpo"]), place / "run", SilentProgress())


@pytest.fixture
def copy(run: RunDirectory, tmp_path: Path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(run.root, tmp_path / "copy")))


def record(run: RunDirectory, stage: str, **files: str) -> None:
    """Has the run's own record vouch for files as they are now, or as they are said to be."""
    document = json.loads(run.record.read_text())
    known = next(one for one in document["stages"] if one["name"] == stage)["files"]
    known |= {name: sha256_file(run.root / stage / name) for name in known} | files
    run.record.write_text(json.dumps(document))


@torch.no_grad()
def logits(model: Any, words: Any, text: str) -> torch.Tensor:
    found: torch.Tensor = model(torch.tensor([words.encode(text)])).logits
    return found


def loaded(place: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(place)


def test_the_library_loads_what_the_run_has(run: RunDirectory, tmp_path: Path) -> None:
    exported = export_model(run, "ppo", tmp_path / "out")
    assert exported.files == sorted(file.name for file in (tmp_path / "out").iterdir())
    own, out = loaded(run.stage("ppo").model), loaded(tmp_path / "out")
    for text in ("ab?", "the letters."):
        assert torch.equal(logits(*own, text), logits(*out, text))
    assert out[0].generation_config.to_dict() == own[0].generation_config.to_dict()
    ends = out[0].generation_config.eos_token_id
    assert set(ends if isinstance(ends, list) else [ends]) == set(open_result(run, "ppo").base.endings.tokens)


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_chat_model_is_asked_and_stops_as_in_the_run(stage: str, chat: RunDirectory, tmp_path: Path) -> None:
    export_model(chat, stage, tmp_path / "out")
    model, words = loaded(tmp_path / "out")
    turns = [{"role": "user", "content": "a?"}]
    asked = words.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    result = open_result(chat, stage)
    assert tuple(asked) == result.encoded("a?")
    ends = model.generation_config.eos_token_id
    assert {words.decode([end]) for end in (ends if isinstance(ends, list) else [ends])} == {"<|stop|>"}
    assert 'PARAMETER stop "<|stop|>"' in (tmp_path / "out" / "Modelfile").read_text().splitlines()


def test_the_card_has_figures_verdict_data_and_licence(run: RunDirectory, tmp_path: Path) -> None:
    export_model(run, "ppo", tmp_path / "out")
    card = ModelCard((tmp_path / "out" / "README.md").read_text())
    assert (card.data.license, card.data.license_name) == ("other", "letters")
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-generation")
    assert "The base's own card names `other`, `letters`" in card.text
    assert (tmp_path / "out" / "LICENSE").read_text() == "Letters may be used.\n"
    (verdict,) = verdicts(read_run(run.root))
    assert verdict.headline.partition(":")[0] in card.text
    inputs = run.lineage.facts["inputs"]
    for name in ("demonstrations", "preferences"):
        assert f"| {name} | `{name}.jsonl` | `{inputs[f'data.{name}']['sha256']}` |" in card.text
    assert card.text.count("## What was measured") == card.text.count("## Verdict") == 1
    assert str(run.root.parent) not in card.text


def test_without_a_card_of_the_base_the_licence_is_said_to_be_unknown(chat: RunDirectory, tmp_path: Path) -> None:
    export_model(chat, "dpo", tmp_path / "out")
    card = ModelCard((tmp_path / "out" / "README.md").read_text())
    assert UNKNOWN_LICENCE in card.text
    assert card.data.get("license") is None


def test_an_adapter_gives_on_its_base_what_the_whole_model_gives(run: RunDirectory, tmp_path: Path) -> None:
    exported = export_adapter(run, "ppo", tmp_path / "out")
    assert exported.notes == [f"It names its base by a directory of this machine, {run.root.parent / 'base'}."]
    adapted = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    whole, words = loaded(run.stage("ppo").model)
    assert torch.allclose(logits(adapted, words, "ab?"), logits(whole, words, "ab?"), atol=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "## Verdict" in card
    assert "Score: " in card


def test_a_reward_model_gives_the_scores_of_the_run_by_the_code_of_its_card(run: RunDirectory, tmp_path: Path) -> None:
    export_reward_model(run, "reward", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(code.replace("path/to/this/folder", str(tmp_path / "out")), names)
    rows = tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "how?", "completion": text} for text in ("aa", "zzy")])
    expected = [score for _, score in score_file(run, rows)]
    assert [names["score"]("how?", text) for text in ("aa", "zzy")] == pytest.approx(expected, abs=1e-4)
    assert "## Licence" in card


def test_a_gguf_file_lies_beside_the_modelfile_that_names_it(run: RunDirectory, tmp_path: Path) -> None:
    """By a converter that stands in for llama.cpp's, which knows no tokenizer of letters."""
    script = tmp_path / NAMES[-1]
    script.write_text("import pathlib, sys\npathlib.Path(sys.argv[3]).write_text(sys.argv[1])\n")
    export_model(run, "ppo", tmp_path / "out", Gguf("f16", [sys.executable, str(script)]))
    assert Path((tmp_path / "out" / "model.gguf").read_text()).parent == tmp_path
    assert (tmp_path / "out" / "Modelfile").read_text().startswith("FROM ./model.gguf\n")


def test_nothing_is_written_where_the_converter_fails_or_something_is_there(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ModelError, check=lambda error: error.code == "model/not-converted"):
        export_model(run, "ppo", tmp_path / "out", Gguf("f16", ["false"]))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(RunError, check=lambda error: error.code == "run/exists"):
        export_model(run, "ppo", tmp_path / "out")


def test_a_result_that_was_changed_since_is_refused(copy: RunDirectory, tmp_path: Path) -> None:
    config = copy.stage("ppo").model / "generation_config.json"
    config.write_text(config.read_text().replace("{", '{"do_sample": true,', 1))
    with pytest.raises(RunError) as changed:
        export_model(copy, "ppo", tmp_path / "out")
    assert (changed.value.code, changed.value.where) == ("run/changed-result", str(config))
    readme = copy.stage("sft").model / "README.md"
    readme.write_text(readme.read_text() + "\nA word of my own.\n")
    export_model(copy, "sft", tmp_path / "other")
    assert "A word of my own." in (tmp_path / "other" / "README.md").read_text()


def test_python_code_is_handed_on_only_where_it_is_trusted(copy: RunDirectory, tmp_path: Path) -> None:
    code = copy.stage("ppo").model / "own.py"
    code.write_text("raise SystemExit('ran')\n")
    record(copy, "ppo", **{"model/own.py": sha256_file(code)})
    with pytest.raises(ModelError, match=r"own\.py") as refused:
        export_model(copy, "ppo", tmp_path / "out")
    assert refused.value.code == "model/hands-on-code"
    export_model(copy, "ppo", tmp_path / "out", trust_remote_code=True)
    assert (tmp_path / "out" / "own.py").exists()


def test_what_could_run_when_it_is_read_stays_behind(copy: RunDirectory, tmp_path: Path) -> None:
    for name in ("extra.bin", "rng.pt", "notes.pkl", ".hidden.json"):
        (copy.stage("ppo").model / name).write_bytes(b"x")
        record(copy, "ppo", **{f"model/{name}": sha256_file(copy.stage("ppo").model / name)})
    exported = export_model(copy, "ppo", tmp_path / "out")
    assert not {"extra.bin", "rng.pt", "notes.pkl", ".hidden.json"} & {*exported.files}


def test_an_adapter_whose_base_is_a_directory_here_is_not_pushed(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="of this machine", check=lambda error: error.code == NOT_SHARED):
        export_adapter(run, "ppo", tmp_path / "out", is_pushed=True)
    assert not (tmp_path / "out").exists()


def test_an_adapter_that_belongs_to_a_part_of_the_run_is_no_use_to_others(copy: RunDirectory, tmp_path: Path) -> None:
    config = copy.stage("ppo").adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="a part of the run", check=lambda error: error.code == NOT_SHARED):
        export_adapter(copy, "ppo", tmp_path / "out")
    shutil.rmtree(copy.stage("ppo").adapter)
    with pytest.raises(ModelError, check=lambda error: error.code == "model/nothing-adapted"):
        export_adapter(copy, "ppo", tmp_path / "out")
