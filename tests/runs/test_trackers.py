"""Every tracker is told each step once, under one id, however often the run is taken up again."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from truing.core.errors import RunError
from truing.runs.trackers import missing_trackers, open_tracker

METRICS = {"loss": 0.5, "tokens": 3, "note": "text", "ok": True, "judges": {"gold": 1.0}}
SENT = {"sft/loss": 0.5, "sft/tokens": 3}


class Fake(ModuleType):
    """A module, or what its functions return, that keeps every call as (name, arguments, keywords)."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls.append((name, arguments, keywords))
            return SimpleNamespace(info=SimpleNamespace(run_id="4c1e")) if name == "start_run" else self

        return call


@pytest.fixture
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake(request.param)
    monkeypatch.setitem(sys.modules, request.param, fake)
    return fake


def session(name: str, directory: Path) -> None:
    tracker = open_tracker([name], "mine", directory)
    tracker.log("sft", 1, METRICS)
    tracker.log("sft", 2, {"loss": 0.25})
    tracker.close()


def id_of(name: str, directory: Path) -> str:
    return str(json.loads((directory / "trackers.json").read_text())[name]["id"])


@pytest.mark.parametrize("fake", ["torch.utils.tensorboard"], indirect=True)
def test_tensorboard(fake: Fake, tmp_path: Path) -> None:
    session("tensorboard", tmp_path)
    assert fake.calls == [
        ("SummaryWriter", (), {"log_dir": str(tmp_path / "tensorboard" / "sft"), "purge_step": 1}),
        ("add_scalar", ("sft/loss", 0.5, 1), {}),
        ("add_scalar", ("sft/tokens", 3, 1), {}),
        ("flush", (), {}),
        ("add_scalar", ("sft/loss", 0.25, 2), {}),
        ("flush", (), {}),
        ("close", (), {}),
    ]


@pytest.mark.parametrize("fake", ["wandb"], indirect=True)
def test_wandb_gives_each_stage_its_own_axis(fake: Fake, tmp_path: Path) -> None:
    session("wandb", tmp_path)
    assert fake.calls == [
        (
            "init",
            (),
            {"project": "truing", "name": "mine", "dir": str(tmp_path)}
            | {"id": id_of("wandb", tmp_path), "resume": "allow"},
        ),
        ("define_metric", ("sft/step",), {}),
        ("define_metric", ("sft/*",), {"step_metric": "sft/step"}),
        ("log", ({**SENT, "sft/step": 1},), {}),
        ("log", ({"sft/loss": 0.25, "sft/step": 2},), {}),
        ("finish", (), {}),
    ]


@pytest.mark.parametrize("fake", ["trackio"], indirect=True)
def test_trackio(fake: Fake, tmp_path: Path) -> None:
    session("trackio", tmp_path)
    assert fake.calls == [
        ("init", (), {"project": "truing", "name": id_of("trackio", tmp_path), "resume": "allow"}),
        ("log", (SENT,), {"step": 1}),
        ("log", ({"sft/loss": 0.25},), {"step": 2}),
        ("finish", (), {}),
    ]
    assert id_of("trackio", tmp_path).startswith("mine-")  # it takes runs of one name for one run


@pytest.mark.parametrize("fake", ["mlflow"], indirect=True)
@pytest.mark.parametrize("server", [None, "http://localhost:5000"])
def test_mlflow_writes_to_the_run_unless_a_server_is_named(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str | None
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    session("mlflow", tmp_path)
    place = [] if server else [("set_tracking_uri", (f"sqlite:///{tmp_path / 'mlflow.db'}",), {})]
    assert fake.calls == [
        *place,
        ("set_experiment", ("truing",), {}),
        ("start_run", (), {"run_name": "mine"}),
        ("log_metrics", (SENT,), {"step": 1}),
        ("log_metrics", ({"sft/loss": 0.25},), {"step": 2}),
        ("end_run", (), {}),
    ]


STARTS = {"wandb": "init", "trackio": "init", "mlflow": "start_run", "torch.utils.tensorboard": "SummaryWriter"}
TOLD = {"wandb": "log", "trackio": "log", "mlflow": "log_metrics", "torch.utils.tensorboard": "add_scalar"}


def _of_steps(fake: Fake, stage: str) -> list[int]:
    """The steps that a tracker was told of a stage, in order."""
    told = [call for call in fake.calls if call[0] == TOLD[fake.__name__]]
    if fake.__name__ == "torch.utils.tensorboard":
        return [arguments[2] for _, arguments, _ in told if arguments[0] == f"{stage}/loss"]
    own = [(arguments[0], keywords) for _, arguments, keywords in told if f"{stage}/loss" in arguments[0]]
    return [keywords["step"] if keywords else metrics[f"{stage}/step"] for metrics, keywords in own]


@pytest.mark.parametrize("fake", STARTS, indirect=True)
def test_a_run_that_is_taken_up_again_and_again_tells_each_step_once_under_one_id(fake: Fake, tmp_path: Path) -> None:
    name = fake.__name__.rpartition(".")[2]
    for stage, first, last in (("sft", 0, 4), ("sft", 3, 3), ("sft", 3, 6), ("dpo", 1, 2), ("dpo", 1, 3)):
        tracker = open_tracker([name], "mine", tmp_path)
        for step in range(first, last + 1):
            tracker.log(stage, step, {"loss": step / 10})
        tracker.close()
    assert _of_steps(fake, "sft") == [0, 1, 2, 3, 4, 5, 6]
    assert _of_steps(fake, "dpo") == [1, 2, 3]
    started = [keywords for call, _, keywords in fake.calls if call == STARTS[fake.__name__]]
    if name == "mlflow":
        assert started == [{"run_name": "mine"}, *[{"run_id": id_of("mlflow", tmp_path)}] * 4]
    elif name == "tensorboard":
        assert [one["purge_step"] for one in started] == [0, 5, 1, 3]
    else:
        assert started == [started[0]] * 5
        assert id_of(name, tmp_path) in started[0].values()


def test_two_runs_are_two_at_a_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", Fake("wandb"))
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        session("wandb", tmp_path / place)
    assert id_of("wandb", tmp_path / "one") != id_of("wandb", tmp_path / "two")


@pytest.mark.parametrize("fake", STARTS, indirect=True)
def test_steps_that_come_again_otherwise_are_told_again(fake: Fake, tmp_path: Path) -> None:
    tracker = open_tracker([fake.__name__.rpartition(".")[2]], "mine", tmp_path)
    for step in (1, 2, 3, 4):
        tracker.log("ppo", step, {"loss": 0.1})
    tracker.go_back("ppo", 2)
    for step in (3, 4):
        tracker.log("ppo", step, {"loss": 0.2})
    assert _of_steps(fake, "ppo") == [1, 2, 3, 4, 3, 4]
    if fake.__name__ == "torch.utils.tensorboard":
        assert [keywords["purge_step"] for name, _, keywords in fake.calls if name == "SummaryWriter"] == [1, 3]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio", "mlflow"])
def test_a_missing_package_is_found_without_opening_anything(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "wandb" if name == "trackio" else "trackio", Fake("other"))
    (problem,) = missing_trackers([name, "wandb" if name == "trackio" else "trackio"])
    assert (problem.code, problem.field) == ("run/no-tracker", "track")
    assert name in problem.what


@pytest.mark.parametrize("fake", ["trackio"], indirect=True)
@pytest.mark.parametrize("missing", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_says_how_to_install_it(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if missing == "tensorboard" else missing, None)
    with pytest.raises(RunError, match=rf"tracker {missing} is not installed.*pip install 'truing\[track\]'"):
        open_tracker(["trackio", missing], "mine", tmp_path)
    assert fake.calls[-1][0] == "finish"  # the one that had started is let go


@pytest.mark.parametrize("fake", ["wandb"], indirect=True)
def test_a_tracker_that_does_not_start_is_an_error(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise ValueError("no API key")

    monkeypatch.setattr(fake, "init", refuse, raising=False)
    with pytest.raises(RunError, match="tracker wandb does not start: no API key"):
        open_tracker(["wandb"], "mine", tmp_path)


def test_a_tracker_that_fails_is_left_out_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb, trackio = Fake("wandb"), Fake("trackio")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    tracker = open_tracker(["wandb", "trackio"], "mine", tmp_path)

    def fail(*_: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(wandb, "log", fail, raising=False)
    with pytest.warns(UserWarning, match="wandb failed and is left out from here on: no route"):
        tracker.log("sft", 1, METRICS)
    tracker.log("sft", 2, METRICS)
    tracker.close()
    assert [call[0] for call in trackio.calls] == ["init", "log", "log", "finish"]
    assert "finish" not in [call[0] for call in wandb.calls]


def test_no_tracker_is_fine(tmp_path: Path) -> None:
    session_names = set(sys.modules)
    tracker = open_tracker([], "mine", tmp_path)
    tracker.log("sft", 1, METRICS)
    tracker.close()
    assert not {"wandb", "trackio", "mlflow"} & (set(sys.modules) - session_names)
    assert list(tmp_path.iterdir()) == []
