"""Consent to a base's own code holds for copies of that code, and for nothing beside them."""

import json
from pathlib import Path

import pytest
import tiny
from transformers.utils import logging as transformers_logging

from truing.chat import open_models
from truing.config.sections import Base
from truing.core.errors import ModelError
from truing.models.load import run_model
from truing.models.own_code import code_elsewhere, code_of, foreign_code
from truing.pipeline.execute import run_pipeline
from truing.runs.progress import SilentProgress

CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own"


class Own(LlamaForCausalLM):
    config_class = OwnConfig
"""
AUTO_MAP = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}


def own_directory(place: Path) -> Path:
    """A model that only its own code can load."""
    tiny.directory(place)
    (place / "own.py").write_text(CODE)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": AUTO_MAP}))
    return place


def test_code_is_every_python_file_and_every_reference(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.py").write_bytes(b"")
    (tmp_path / "config.json").write_text(
        '{"auto_map": {"AutoConfig": "a.B"}, "width": 3, "text": {"path": "somebody/else"}}'
    )
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["a.C", null]}}')
    (tmp_path / "legacy.json").write_text('{"auto_map": ["a.D", null]}')
    (tmp_path / "damaged.json").write_text("{")
    assert code_of(tmp_path) == {
        "inner/a.py": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",  # SHA-256 of nothing
        "config.json: auto_map.AutoConfig": "a.B",
        "config.json: text.path": "somebody/else",
        "legacy.json: auto_map.0": "a.D",
        "tokenizer_config.json: auto_map.AutoTokenizer.0": "a.C",
    }


@pytest.mark.parametrize("change", ["more code", "other code", "another reference", "another place"])
def test_what_is_no_copy_is_foreign(change: str, tmp_path: Path) -> None:
    base, copy = own_directory(tmp_path / "base"), own_directory(tmp_path / "copy")
    assert foreign_code(copy, base, str(base)) == []
    trusting = Base(path=str(base), trust_remote_code=True)
    assert run_model(copy, trusting).trust_remote_code
    assert not run_model(copy, Base(path=str(base))).trust_remote_code
    if change == "another reference":
        config = json.loads((copy / "config.json").read_text())
        elsewhere = {"AutoConfig": "somebody/else--own.OwnConfig"}
        (copy / "config.json").write_text(json.dumps(config | {"auto_map": AUTO_MAP | elsewhere}))
    elif change == "another place":
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config | {"attn_implementation": "somebody/kernel"}))
    else:
        (copy / ("more.py" if change == "more code" else "own.py")).write_text("1")
    with pytest.raises(ModelError, check=lambda error: error.code == "model/foreign-code"):
        run_model(copy, trusting)


def test_a_copy_of_a_hub_model_refers_to_it_by_its_name(tmp_path: Path) -> None:
    base, copy = own_directory(tmp_path / "base"), own_directory(tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    for name, own in (("AutoModel", []), ("AutoConfig", ["config.json: auto_map.AutoConfig"])):
        for place, reference in ((base, "own.Own"), (copy, "owner/name--own.Own")):
            (place / "config.json").write_text(json.dumps(config | {"auto_map": AUTO_MAP | {name: reference}}))
        assert foreign_code(copy, base, "owner/name") == foreign_code(base, copy, "owner/name") == []
        assert foreign_code(copy, base, "owner/other") == [f"config.json: auto_map.{name}"]
        assert code_elsewhere(copy) == own


def test_a_trusted_base_goes_on_with_its_own_code_and_chat_asks_again(tmp_path: Path) -> None:
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    recipe = tiny.recipe(tmp_path, stages=["sft", "dpo"], **{"base.trust_remote_code": True})
    own_directory(tmp_path / "base")
    run = run_pipeline(recipe, tmp_path / "run", SilentProgress())
    assert (run.stage("dpo").model / "own.py").read_text() == CODE
    with pytest.raises(ModelError, check=lambda error: error.code == "model/remote-code"):
        open_models(run, "dpo", 4, 1.0)
    for stage in ("sft", "dpo"):
        start, result = open_models(run, stage, 4, 1.0, trust_remote_code=True)
        assert type(start.model.base.model).__name__ == type(result.model.base.model).__name__ == "Own"
    config = run.stage("dpo").model / "config.json"
    saved = config.read_text()
    config.write_text(saved.replace('"own.Own"', '"somebody/else--own.Own"'))
    with pytest.raises(ModelError, check=lambda error: error.code == "model/code-elsewhere"):
        open_models(run, "dpo", 4, 1.0, trust_remote_code=True)
    config.write_text(saved)
    (run.stage("sft").model / "own.py").write_text(CODE + "\n")
    with pytest.raises(ModelError, check=lambda error: error.where == str(run.stage("sft").model)):
        open_models(run, "dpo", 4, 1.0, trust_remote_code=True)
