"""What a dry run measures is what is held: by formulas, and by a run of all layers."""

import mmap
import os
import signal
import time
from multiprocessing import forkserver
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import tiny
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from truing.config.recipe import Recipe
from truing.core.errors import ModelError, ProcessesError, TrainingError
from truing.data.prepared import Prepared
from truing.estimate import dry_run as module
from truing.estimate import estimator
from truing.estimate.dry_run import Meter, Usage, dry_run
from truing.estimate.estimator import estimate
from truing.rewards.combined import MembersReward

LAYERS, WIDTH = 8, 256
LAYER = 4 * WIDTH**2 + 3 * WIDTH * 4 * WIDTH
MEGABYTE = 1e6
"""Within a few of which a process takes the same again"""


def _recipe(place: Path, layers: int = LAYERS, **changes: Any) -> Recipe:
    """All stages on a base whose layers weigh more than what they read."""
    recipe = tiny.recipe(place, **{"stages": ["sft", "reward", "ppo", "dpo"], "checkpoints.every_steps": 1} | changes)
    config = LlamaConfig(
        vocab_size=tiny.VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=4,
        eos_token_id=len(tiny.LETTERS),
        pad_token_id=len(tiny.LETTERS) + 1,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(place / "base")
    return recipe


def _dry_run(recipe: Recipe, root: Path) -> dict[str, Usage] | None:
    return dry_run(recipe, tiny.prepared(recipe), root)


@pytest.mark.long
@pytest.mark.parametrize("roles", ["shared", pytest.param("separate", marks=pytest.mark.slow)])
def test_the_peak_is_that_of_a_run_of_all_layers(roles: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(estimator, "KERNELS_A_STEP", 0)  # batches of these rows are all about equally long
    method = "full" if roles == "separate" else "lora"
    steps = {"ppo.updates": 3, "dpo.epochs": 3}  # a second step holds moments and gradients at once, a first does not
    recipe = _recipe(tmp_path / "recipe", roles=roles, **{"sft.method": method} | steps)
    measured = _dry_run(recipe, tmp_path / "run")
    assert measured is not None
    found = estimate(recipe).stages
    assert list(found) == list(measured) == ["sft", "reward", "ppo", "dpo"]
    for stage, usage in found.items():
        assert usage.peak == pytest.approx(measured[stage].peak, rel=0.1), stage


@pytest.mark.long
def test_between_steps_a_model_that_learns_in_full_holds_two_moments_of_each_weight(tmp_path: Path) -> None:
    layers = 24  # enough for what the other products of adapters take to be little beside it
    weights = 4.0 * layers * LAYER
    few = {
        "sft.epochs": 1,
        "checkpoints.every_steps": 1000,
    }  # three steps, and no copies of weights and moments on disk
    lora, full = (
        _dry_run(
            _recipe(tmp_path / method, layers, **{"stages": ["sft"], "sft.method": method} | few),
            tmp_path / f"run {method}",
        )
        for method in ("lora", "full")
    )
    assert lora is not None
    assert full is not None
    assert full["sft"].held - lora["sft"].held == pytest.approx(2 * weights, rel=0.1, abs=5 * MEGABYTE)
    assert full["sft"].peak - full["sft"].held > weights  # gradients


def test_the_second_step_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 1.5, 4.0, 9.0, 9.5])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(times))
    meter = Meter(torch.device("cpu"), libraries=0)
    meter.advance(1, {})
    meter.advance(2, {})
    meter.advance(3, {})
    assert meter.usage.seconds == 4.0 - 1.5


def test_libraries_that_a_process_was_born_with_are_counted() -> None:
    libraries = 10**12
    with_them, without = (Meter(torch.device("cpu"), size).usage.peak for size in (libraries, 0))
    assert with_them - without == pytest.approx(libraries, rel=0.01)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")
def test_files_that_a_process_alone_reads_are_not_taken_for_those_that_it_was_born_with(tmp_path: Path) -> None:
    of_its_own, place = 64 * 2**20, tmp_path / "library"
    with place.open("wb") as file:
        file.write(bytes(of_its_own))
        os.fsync(file.fileno())  # what is still to be written is no file yet
    meter = Meter(torch.device("cpu"), libraries=10**12)
    before = meter.usage.peak
    with place.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        mapped.find(b"1")
        assert meter.usage.peak - before == pytest.approx(of_its_own, rel=0.1)


def test_dpo_is_tried_with_the_members_that_score_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int] = []
    right = MembersReward.scores_and_spread
    monkeypatch.setattr(
        MembersReward, "scores_and_spread", lambda self, said: (asked.append(len(self.members)), right(self, said))[1]
    )
    recipe = tiny.recipe(tmp_path / "recipe", stages=["reward", "dpo"], **{"reward.members": 2})
    assert list(module._run(recipe, tiny.prepared(recipe), tmp_path / "run", 0) or ()) == ["reward", "dpo"]
    assert set(asked) == {2}


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("not enough memory")])
def test_a_stage_that_runs_out_of_memory_has_no_usage(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_: object) -> None:
        raise TrainingError("there is not enough memory.") from fault

    monkeypatch.setattr(module, "run_stage", fails)
    recipe = tiny.recipe(tmp_path / "recipe")
    assert module._run(recipe, tiny.prepared(recipe), tmp_path / "run", 0) is None


def test_what_else_ends_a_stage_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_: object) -> None:
        raise TrainingError("the loss became nan.") from TrainingError("the loss became nan.")

    monkeypatch.setattr(module, "run_stage", fails)
    recipe = tiny.recipe(tmp_path / "recipe")
    with pytest.raises(TrainingError, match="nan"):
        module._run(recipe, tiny.prepared(recipe), tmp_path / "run", 0)


def _killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _crash(*_: object) -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


def _terminated(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _nameless(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGRTMIN + 1)


def _exit(*_: object) -> None:
    os._exit(9)


def test_a_process_that_the_system_ends_has_no_usage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_run", _killed)
    assert _dry_run(tiny.recipe(tmp_path / "recipe"), tmp_path / "run") is None


@pytest.mark.parametrize(
    ("work", "how"),
    [
        (_crash, "was ended by SIGSEGV"),
        (_terminated, "was ended by SIGTERM"),
        (_nameless, f"was ended by signal {signal.SIGRTMIN + 1}"),
        (_exit, "ended with exit code 9"),
    ],
)
def test_a_process_that_ends_otherwise_is_not_taken_for_one_that_wants_memory(
    work: Any, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_run", work)
    with pytest.raises(ProcessesError, match=how, check=lambda error: error.code == "processes/ended"):
        _dry_run(tiny.recipe(tmp_path / "recipe"), tmp_path / "run")


def test_a_process_that_cannot_begin_is_told_as_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(forkserver, "connect_to_new_process", refused)
    with pytest.raises(ProcessesError, match=r"did not begin .*Broken pipe"):
        _dry_run(tiny.recipe(tmp_path / "recipe"), tmp_path / "run")


class _UnsendableError(Exception):
    def __init__(self, *, what: str) -> None:
        super().__init__(what, lambda: None)


def _fault(*_: object) -> None:
    raise _UnsendableError(what="an odd fault")


def _refusal(*_: object) -> None:
    raise ModelError("cannot be read.", where="a base")


@pytest.mark.parametrize(
    ("work", "kind", "told"), [(_fault, RuntimeError, "an odd fault"), (_refusal, ModelError, "a base: cannot be read")]
)
def test_errors_of_any_kind_come_back(
    work: Any, kind: type[Exception], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_run", work)
    with pytest.raises(kind, match=told):
        _dry_run(tiny.recipe(tmp_path / "recipe"), tmp_path / "run")


def _stay(recipe: Recipe, rows: Prepared, root: Path, libraries: int) -> None:
    root.write_text(str(os.getpid()))
    time.sleep(600)


def test_who_is_interrupted_leaves_no_process_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_run", _stay)
    there = tmp_path / "process"

    def interrupt() -> None:
        while not (there.exists() and there.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        _dry_run(tiny.recipe(tmp_path / "recipe"), there)
    with pytest.raises(ProcessLookupError):
        os.kill(int(there.read_text()), 0)


def test_rewards_from_elsewhere_are_part_of_it(tmp_path: Path) -> None:
    tiny.classifier(tmp_path / "judge")
    rewards = [
        {"kind": "model", "path": str(tmp_path / "judge"), "weight": 1.0, "normalise": True},
        {"kind": "function", "path": "no.such:function", "weight": 1.0, "normalise": True},
    ]
    found = estimate(tiny.recipe(tmp_path / "recipe", stages=["ppo"], **{"rewards.sources": rewards}))
    assert found.fits
    assert found.stages["ppo"].seconds > 0


def test_on_a_gpu_its_own_memory_is_read_and_what_is_under_way_there_belongs_to_the_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu, times = torch.device("cuda", 3), iter([1.0, 1.5, 4.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(times))
    waited: list[torch.device] = []
    answers = {"max_memory_reserved": 70, "memory_reserved": 60, "memory_allocated": 40, "mem_get_info": (20, 100)}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, answer=answer: answer if device == gpu else None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    meter = Meter(gpu, libraries=0)
    meter.advance(1, {})
    meter.advance(2, {})
    assert meter.usage == Usage(70 + 20, 40 + 20, 4.0 - 1.5)  # 20 of the 80 taken are not PyTorch's
    assert waited == [gpu, gpu]
