"""Code that hides in a file is never run: a canary under every name that a run or a model directory has or may have."""

import contextlib
import io
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from transformers.utils import logging as transformers_logging

from truing.chat import open_models
from truing.config.recipe import Recipe
from truing.config.sections import Base, Compute
from truing.core.errors import ModelError
from truing.models.layout import RewardModelFiles, ppo_roles
from truing.models.load import load_base
from truing.pipeline.execute import run_pipeline
from truing.report import write_report
from truing.rewards.sources import ClassifierReward
from truing.runs.checkpoints import MANIFEST, STATE, TENSORS, newest_checkpoint, save_checkpoint
from truing.runs.directory import RunDirectory
from truing.runs.files import sha256_file, write_json
from truing.runs.progress import SilentProgress

pytestmark = pytest.mark.long

TEMPTING = [
    "pytorch_model.bin",
    "adapter_model.bin",
    "adapter_model.pt",
    "head.bin",
    "head.pt",
    "model.pt",
    "model.pth",
    "model.pkl",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.pkl",
    "training_args.bin",
    "tokenizer.pkl",
    "vocab.pkl",
]
"""Names under which other programs keep Python objects"""


class Canary:
    """An object that makes a file when it is read back."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.file), "w"))


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "sang"
    yield file
    assert not file.exists()


def payloads(file: Path) -> list[bytes]:
    """As pickle writes it, and as torch.save does."""
    saved = io.BytesIO()
    torch.save(Canary(file), saved)
    return [pickle.dumps(Canary(file)), saved.getvalue()]


def test_the_canary_sings_where_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "sang"
    pickled, saved = payloads(file)
    pickle.loads(pickled).close()
    assert file.exists()
    file.unlink()
    torch.load(io.BytesIO(saved), weights_only=False).close()
    assert file.exists()


@contextlib.contextmanager
def tempting(directory: Path, payload: bytes) -> Iterator[None]:
    """All these names at once, where what is whole beside them is used to its end, so that none hides another."""
    with contextlib.ExitStack() as all_of_them:
        for name in TEMPTING:
            all_of_them.enter_context(planted(directory / name, payload))
        yield


@contextlib.contextmanager
def planted(file: Path, payload: bytes) -> Iterator[None]:
    before = file.read_bytes() if file.exists() else None
    file.write_bytes(payload)
    try:
        yield
    finally:
        file.unlink() if before is None else file.write_bytes(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """A run of every stage on shared roles, so that it has adapters and heads too."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    place = tmp_path_factory.mktemp("finished")
    recipe = tiny.recipe(place, **{"ppo.updates": 1})
    run_pipeline(recipe, place / "run", SilentProgress())
    return recipe, place / "run"


def test_no_file_of_a_run_is_run(finished: tuple[Recipe, Path], canary: Path) -> None:
    recipe, root = finished
    files = [file for file in root.rglob("*") if file.is_file() and "model" not in file.parts]
    assert {"recipe.yaml", "run.json", "metrics.jsonl", "result.json", "adapter_config.json"} <= {f.name for f in files}
    for payload in payloads(canary):
        with tempting(root, payload):
            run_pipeline(recipe, root, SilentProgress())
            write_report(root)
    for file in files:
        for payload in payloads(canary)[file.suffix == ".json" :]:
            with planted(file, payload):
                with contextlib.suppress(Exception):
                    run_pipeline(recipe, root, SilentProgress())
                if file.name in ("recipe.yaml", "run.json") or file.parent.name == "sft":
                    with contextlib.suppress(Exception):
                        write_report(root)


def test_no_file_of_a_model_or_adapter_is_run(finished: tuple[Recipe, Path], canary: Path, tmp_path: Path) -> None:
    recipe, root = finished
    run = RunDirectory(shutil.copytree(root, tmp_path / "copy"))
    sft, reward = run.stage("sft").model, run.stage("reward")

    def use() -> None:
        ppo_roles(recipe, Base(path=str(sft)), RewardModelFiles(reward.model, reward.adapter))

    for directory in (sft, reward.model, reward.adapter):
        for payload in payloads(canary):
            with tempting(directory, payload):
                use()
        for file in [*directory.iterdir()]:
            with planted(file, payloads(canary)[1]), contextlib.suppress(Exception):
                use()
    use()  # nothing of it is left


@pytest.mark.parametrize("weights", ["model.safetensors", "adapter_model.safetensors"])
def test_weights_that_could_hold_code_do_not_stand_in_for_those_that_are_missing(
    weights: str, finished: tuple[Recipe, Path], canary: Path, tmp_path: Path
) -> None:
    recipe, root = finished
    run = RunDirectory(shutil.copytree(root, tmp_path / "copy"))
    reward = run.stage("reward")
    directory, start = reward.adapter if weights.startswith("adapter") else reward.model, recipe.base
    assert start is not None
    for file in directory.glob("*.safetensors"):
        file.unlink()
    for name in TEMPTING:
        for payload in payloads(canary):
            (directory / name).write_bytes(payload)
            with pytest.raises(ModelError):
                load_base(Base(path=str(directory)), Compute())
            with pytest.raises(ModelError):
                ClassifierReward.load(str(directory), torch.device("cpu"), 100, tiny.TODAY)
            if directory == reward.adapter:
                with pytest.raises(ModelError, match="a format whose reading can run code"):
                    ppo_roles(recipe, start, RewardModelFiles(reward.model, reward.adapter))


@pytest.mark.parametrize("name", [TENSORS, STATE, MANIFEST])
@pytest.mark.parametrize("vouched", [False, True])
def test_no_file_of_a_checkpoint_is_run_even_where_the_manifest_vouches_for_it(
    name: str, vouched: bool, canary: Path, tmp_path: Path
) -> None:
    for payload in payloads(canary):
        for step in (1, 2):
            save_checkpoint(tmp_path / "c", step, {"a": torch.ones(2)}, {}, keep_last=2)
        newest = tmp_path / "c" / "step-00000002"
        (newest / name).write_bytes(payload)
        if vouched and name != MANIFEST:
            write_json(newest / MANIFEST, {each: sha256_file(newest / each) for each in (TENSORS, STATE)})
        said: list[str] = []
        found = newest_checkpoint(tmp_path / "c", said.append)
        assert found is not None
        assert (found.step, len(said)) == (1, 1)
        shutil.rmtree(tmp_path / "c")


def test_chat_runs_nothing_of_a_run(finished: tuple[Recipe, Path], canary: Path) -> None:
    _, root = finished
    for file in (root / "ppo" / "model").iterdir():
        for payload in payloads(canary):
            with planted(file, payload), contextlib.suppress(Exception):
                open_models(RunDirectory(root), "ppo", 4, 1.0)
