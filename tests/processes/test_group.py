"""A world of one process: the verbs return what they are given, and nothing of several processes is loaded."""

import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from torch.distributed import DistNetworkError

import truing
from truing.config.sections import Optimiser
from truing.core.errors import RewardError, TrainingError
from truing.processes import group, started
from truing.processes.failures import PeerFailed
from truing.processes.peers import Failure, Peers
from truing.processes.place import Place
from truing.training.journal import open_journal
from truing.training.learner import Learner, _of_all

SOURCES = Path(truing.__file__).parent


def test_one_process_owns_the_run_and_has_all_of_the_work() -> None:
    work = [[3, 1], [2]]
    results = {2: "b", 0: "a"}
    assert group.is_owner() is True
    assert group.size() == 1
    assert group.share(work) == work
    assert group.share_by_cost([5, 1, 3]) == [0, 1, 2]
    assert group.gather(results) == results
    assert group.all_gather(2.5) == [2.5]
    assert group.on_owner(lambda: "done") == "done"


def test_the_owner_is_asked_once_and_its_error_is_everybodys() -> None:
    asked: list[int] = []

    def answer() -> str:
        asked.append(1)
        if len(asked) == 2:
            raise RewardError("gave nan.", where="own.py:score", hint="Look.")
        return "seven"

    assert group.broadcast(answer) == "seven"
    assert len(asked) == 1
    with pytest.raises(RewardError) as refused:
        group.broadcast(answer)
    assert refused.value.where == "own.py:score"


def test_an_error_of_a_process_that_is_alone_leaves_it_as_it_is() -> None:
    error = RewardError("gave nan.", where="own.py:score")
    with pytest.raises(RewardError) as refused, group.joined():
        raise error
    assert refused.value is error
    with group.joined():
        pass


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_rows_are_shared_by_what_they_cost(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest first, to whoever has least: 9 | 5 + 3 | 4 + 4, by hand."""
    own = {"data_rank": rank, "data_size": 3, "work_rank": rank, "work_size": 3}
    monkeypatch.setattr(group, "_peers", SimpleNamespace(place=SimpleNamespace(**own)))
    assert group.share_by_cost([4, 9, 4, 3, 5]) == [[1], [3, 4], [0, 2]][rank]
    assert group.share("abcde") == ["ad", "be", "c"][rank]
    with group.alone():
        assert group.share("abcde") == "abcde"


def test_what_processes_found_is_put_together_as_each_metric_is_reduced() -> None:
    parts = [{"loss": 0.25, "ratio_max_deviation": 0.1}, {"loss": 0.5, "ratio_max_deviation": 0.3, "kl": 1.0}]
    assert _of_all(parts) == {"loss": 0.75, "ratio_max_deviation": 0.3, "kl": 1.0}


def test_weights_that_have_parted_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft"])
    job, weight = tiny.job(recipe, tmp_path / "run", "sft"), torch.nn.Parameter(torch.ones(3))
    learner = Learner([tiny.trained("policy", 0.1, weight)], recipe.sft.optimiser, steps=2, token_budget=8)
    with open_journal(job, learner, 2) as journal:
        monkeypatch.setattr(group, "size", lambda: 2)
        monkeypatch.setattr(group, "all_gather", lambda value: [value, value + 1 if type(value) is int else value])
        with pytest.raises(TrainingError) as parted:
            journal.done(2)
    assert parted.value.code == "training/drifted-apart"
    assert not list(job.directory.checkpoints.glob("step-*"))


def test_of_an_error_that_all_meet_one_tells_and_all_end_with_its_code() -> None:
    """Ranks 0 and 2 fail, 1 hands in what it has; so rank 2 leaves it to rank 0."""
    said = [Failure(0, 2), "a metric", Failure(2, 1)]
    for rank, ends_with in ((0, RewardError), (2, PeerFailed)):
        peers: Any = Peers.__new__(Peers)
        peers.place, peers._failed, peers._in_parts = Place(rank, 3, 1, 1), False, False
        peers._exchange = lambda *_: said
        with pytest.raises(ends_with) as ended, peers.agreed():
            raise RewardError("gave nan.")
        assert ended.value.exit_code == 2


def test_whoever_is_gone_while_connections_are_made_is_told_as_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are spread as they are loaded, where any error of the library says that this is no model."""

    def fails(*_: object, **__: object) -> None:
        raise DistNetworkError("Broken pipe")

    monkeypatch.setattr("truing.processes.peers.init_device_mesh", fails)
    peers: Any = Peers.__new__(Peers)
    peers.place, peers._failed, peers._in_parts, peers._meshes = Place(0, 2, 2, 1), False, False, {}
    peers._watchdog = SimpleNamespace(waiting=lambda _: nullcontext())
    weight = torch.nn.Parameter(torch.ones(2, 2))
    with pytest.raises(PeerFailed) as gone:
        peers.keep_part(weight, 0, torch.device("cpu"))
    assert gone.value.untold == "another process of this run is gone"


def test_a_checksum_sees_one_bit() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    learner = Learner([tiny.trained("policy", 0.1, weight)], Optimiser(learning_rate=0.1), steps=1, token_budget=8)
    before = learner.checksum()
    with torch.no_grad():
        weight[1] = torch.nextafter(weight[1], torch.tensor(2.0))
    assert learner.checksum() == before + 1


def test_a_scheduler_that_sets_some_variables_starts_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
        assert not started.is_expected()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert started.is_expected()
    monkeypatch.setenv("WORLD_SIZE", "")
    assert not started.is_expected()


def test_no_other_room_knows_of_several_processes() -> None:
    mentions = [
        file.relative_to(SOURCES)
        for file in SOURCES.rglob("*.py")
        if re.search(r"torch\.distributed|from torch import [^\n]*\bdistributed\b", file.read_text(encoding="utf-8"))
    ]
    assert [file for file in mentions if file.parts[0] != "processes"] == []


def test_the_pipeline_and_its_stages_begin_no_group_of_processes() -> None:
    """Nor does anything else that is imported before a run in one process; asked in a program that has nothing yet."""
    program = """
import sys
import truing.cli.run, truing.estimate.rehearsal, truing.pipeline.execute
from truing.config.stages import STAGES
for spec in STAGES.values():
    spec.load(spec.train)
print("truing.stages.ppo" in sys.modules, "truing.processes.peers" in sys.modules)
"""
    asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert asked.stdout == "True False\n"
