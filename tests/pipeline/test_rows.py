"""A run parses each of its files once and encodes each row once; a run that goes on does neither."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config.recipe import Recipe
from truing.core.errors import InputError, ModelError, TrainingError
from truing.data import encode, prepared, read
from truing.data.prepared import Prepared
from truing.models.load import LoadedBase
from truing.pipeline.execute import Rehearse, run_pipeline
from truing.runs.progress import SilentProgress

FOUR = {"stages": ["sft", "reward", "ppo", "dpo"], "variants": {"other": {"dpo.beta": 0.5}}, "dpo.batch_size": 8}
TWO = {"stages": ["sft", "dpo"], "sft.epochs": 1, "dpo.batch_size": 8}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """How often each file was parsed, and each prompt and each completion tokenised."""
    counts: Counter[Any] = Counter()

    def counting(module: Any, name: str, key: Callable[..., Any]) -> None:
        function = getattr(module, name)

        def counted(*given: Any) -> Any:
            counts[key(*given)] += 1
            return function(*given)

        monkeypatch.setattr(module, name, counted)

    counting(prepared, "write_prompt", lambda _, prompt: prompt)
    counting(encode, "write_answered", lambda _, prompt, completion, beginning: (prompt, completion))
    parse = read.READERS[".jsonl"]

    def parsed(path: Path, *given: Any) -> Iterator[Any]:
        counts[path] += 1
        return parse(path, *given)

    monkeypatch.setitem(read.READERS, ".jsonl", parsed)
    return counts


def once(place: Path) -> Counter[Any]:
    """Each file, each prompt, and each completion of each row."""
    rows = tiny.demonstrations() + tiny.preferences()
    sides = [(row["prompt"], row[side]) for row in rows for side in ("completion", "chosen", "rejected") if side in row]
    files = [place / "demonstrations.jsonl", place / "preferences.jsonl"]
    return Counter([*files, *{row["prompt"] for row in rows}, *sides])


def run_until_dpo(
    recipe: Recipe, root: Path, monkeypatch: pytest.MonkeyPatch, rehearse: Rehearse | None = None
) -> None:
    """A run whose stage of preferences is stopped as it begins."""

    def failing(_: object) -> None:
        raise TrainingError("the loss became nan.")

    with monkeypatch.context() as patched:
        patched.setattr("truing.stages.dpo.train_dpo", failing)
        with pytest.raises(TrainingError):
            run_pipeline(recipe, root, SilentProgress(), rehearse=rehearse)


def test_every_row_is_read_and_encoded_once_a_run(
    tmp_path: Path, counts: Counter[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path, **FOUR)
    run_until_dpo(recipe, tmp_path / "run", monkeypatch)
    assert counts == once(tmp_path)
    counts.clear()
    run_pipeline(recipe, tmp_path / "run", SilentProgress())
    assert not counts
    assert (tmp_path / "run" / "dpo" / "result.json").exists()


def test_the_rows_of_a_world_are_kept_too(
    tmp_path: Path, counts: Counter[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = {"demonstrations": 30, "preferences": 30, "prompts": 9}
    recipe = tiny.recipe(tmp_path, **TWO, world=world)
    recipe = recipe.model_copy(update={"base": None, "data": Recipe().data})
    run_until_dpo(recipe, tmp_path / "run", monkeypatch, lambda *_: "Rehearsed.")
    files = {path.name: count for path, count in counts.items() if isinstance(path, Path)}
    assert files == {"demonstrations.jsonl": 1, "preferences.jsonl": 1, "prompts.jsonl": 1}
    counts.clear()
    run_pipeline(recipe, tmp_path / "run", SilentProgress(), rehearse=lambda *_: "Rehearsed.")
    assert not counts


def test_a_world_is_rehearsed_and_one_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"world": {"demonstrations": 30, "preferences": 30, "prompts": 90}})
    rehearsed: list[str] = []

    def rehearse(recipe: Recipe, rows: Prepared, base: LoadedBase) -> str:
        rehearsed.extend(file.name for file in (tmp_path / "run").iterdir() if file.is_dir())
        raise ModelError("cannot be saved.", code="model/other-head", hint="Use another.")

    with pytest.raises(ModelError, match=r"cannot be saved\."):
        run_pipeline(recipe, tmp_path / "run", SilentProgress(), rehearse=rehearse)
    assert rehearsed == ["world"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damaged", ["prompts.jsonl", "key"])
def test_rows_that_were_damaged_or_are_of_other_data_are_prepared_anew(
    damaged: str, tmp_path: Path, counts: Counter[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path, **TWO)
    run_until_dpo(recipe, tmp_path / "run", monkeypatch)
    place = tmp_path / "run" / "prepared"
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    if damaged == "key":
        manifest = json.loads(before["prepared.json"])
        (place / "prepared.json").write_text(json.dumps(manifest | {"key": "of other data"}))
    else:
        (place / damaged).write_bytes(before[damaged][:-9])
    counts.clear()
    run_pipeline(recipe, tmp_path / "run", SilentProgress())
    assert counts == once(tmp_path)
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before


def test_a_run_that_is_refused_has_read_each_file_once_and_written_nothing(
    tmp_path: Path, counts: Counter[Any]
) -> None:
    recipe = tiny.recipe(tmp_path, **TWO | {"evaluation.prompts": 24})
    with pytest.raises(InputError, match="24 different prompts, of which 24 are to be held out"):
        run_pipeline(recipe, tmp_path / "run", SilentProgress())
    assert counts == once(tmp_path)
    assert not (tmp_path / "run").exists()
