"""Which run is begun when, from whose stages, and what becomes of one that fails: with processes that only pretend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config import load_recipe
from truing.config.plan import plan
from truing.runs.directory import open_run
from truing.sweep import workers
from truing.sweep.grid import read_grid
from truing.sweep.trials import Trial, trials_of


@dataclass
class Pretended:
    """A run that finishes a stage each time it is looked at, and fails before the one that it is told to."""

    trial: Trial
    arguments: list[str]
    fails_at: str | None = None
    left: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        done = self.trial.stages_done
        self.left = [stage.name for stage in plan(self.trial.recipe) if stage.name not in done]

    def poll(self) -> int | None:
        if self.left and self.left[0] == self.fails_at:
            return 3
        if not self.left:
            return 0
        with open_run(self.trial.root, self.trial.recipe) as run:
            run.lineage.plan([(stage.name, stage.kind) for stage in plan(self.trial.recipe)])
            run.lineage.begin(self.left[0], self.left[0], 1)
            run.lineage.finish(self.left.pop(0), {}, 0.1)
        return None

    def kill(self) -> None:
        pass


@dataclass
class Machine:
    """On which runs are pretended."""

    trials: list[Trial]
    fails: Mapping[str, str] = field(default_factory=dict)
    started: list[Pretended] = field(default_factory=list)
    most: int = 0
    said: list[str] = field(default_factory=list)

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], **streams: Any) -> Pretended:
        root = arguments[-1]
        trial = next(trial for trial in self.trials if str(trial.root) == root)
        self.started.append(Pretended(trial, list(arguments), self.fails.get(trial.name)))
        streams["stdout"].write(b"first\nlast words\n")
        going = [one for one in self.started if one.left and one.left[0] != one.fails_at]
        self.most = max(self.most, len(going))
        return self.started[-1]

    def run(self, jobs: int) -> workers.Work:
        return workers.run_trials(self.trials, Path("recipe.yaml"), jobs, self.said.append)

    def sources(self) -> dict[str, str | None]:
        """Of each run that was started, the one whose stages it was to take over."""
        names = {str(trial.root): trial.name for trial in self.trials}
        return {
            one.trial.name: names[one.arguments[-3]] if "--fork-to" in one.arguments else None for one in self.started
        }


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    file = tiny.recipe_file(tmp_path)
    points = read_grid(["reward.epochs=1,2", "ppo.kl.beta=0.1,0.2"], lambda given: load_recipe(file, given))
    made = Machine(trials_of(points, 1, tmp_path / "sweep"))
    monkeypatch.setattr(workers, "start_truing", made.start)
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.0)
    return made


A, B, C, D = (f"reward.epochs={epochs}, ppo.kl.beta={beta}, seed 17" for epochs in (1, 2) for beta in (0.1, 0.2))


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_each_run_takes_over_what_an_earlier_one_has_alike(machine: Machine, jobs: int) -> None:
    work = machine.run(jobs)
    assert (work.exit_code, work.failed, work.waiting) == (0, {}, [])
    assert machine.sources() == {A: None, B: A, C: A, D: C}
    assert machine.most <= jobs
    assert all(trial.is_done for trial in machine.trials)


def test_none_waits_for_more_than_the_stages_that_it_shares(machine: Machine) -> None:
    machine.run(9)
    assert machine.most > 1
    begun = [one.removesuffix(": begun") for one in machine.said if one.endswith("begun")]
    done = next(place for place, one in enumerate(machine.said) if "done in" in one)
    assert done > machine.said.index(f"{C}: begun"), begun  # C needs sft alone, and the first run goes on meanwhile


def test_one_that_fails_is_told_and_the_others_go_on_without_it(machine: Machine) -> None:
    machine.fails = {A: "reward"}
    work = machine.run(1)
    assert {trial.name: code for trial, code in work.failed.items()} == {A: 3}
    assert work.exit_code == 3
    assert f"{A}: ended with exit code 3: last words" in machine.said
    assert machine.sources() == {A: None, B: None, C: A, D: C}  # the failed one has an SFT model all the same
    assert [trial.name for trial in machine.trials if trial.is_done] == [B, C, D]


def test_what_is_done_is_not_started_again(machine: Machine) -> None:
    machine.run(2)
    machine.started.clear()
    assert machine.run(2).exit_code == 0
    assert machine.started == []
    assert "4 of 4 runs are done already" in machine.said
