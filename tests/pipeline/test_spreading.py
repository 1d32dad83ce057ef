"""A base whose weights cannot be spread over the processes of a run is refused before its rows are read."""

from pathlib import Path

import pytest
import tiny

from truing.core.errors import ModelError
from truing.pipeline import execute
from truing.pipeline.execute import run_pipeline
from truing.runs.progress import SilentProgress


@pytest.mark.parametrize(
    ("shape", "verb", "code"), [("gpt2", "tensor", "not-cut"), ("llama", "pipeline", "few-layers")]
)
def test_it_is_refused_before_its_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, verb: str, code: str
) -> None:
    recipe = tiny.recipe(tmp_path, shape=shape)
    monkeypatch.setattr("truing.processes.group.size", lambda: 4)
    monkeypatch.setattr(f"truing.processes.group.{verb}_size", lambda: 4)
    monkeypatch.setattr(execute, "check_inputs", lambda *_: pytest.fail("its rows were read"))
    with pytest.raises(ModelError) as refused:
        run_pipeline(recipe, tmp_path / "run", SilentProgress())
    assert refused.value.code == f"model/{code}"
    assert not (tmp_path / "run").exists()
