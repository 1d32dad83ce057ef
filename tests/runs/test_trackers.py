import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from truing.core.errors import RunError
from truing.runs.trackers import open_tracker

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

        def call(*arguments: Any, **keywords: Any) -> "Fake":
            self.calls.append((name, arguments, keywords))
            return self

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


@pytest.mark.parametrize("fake", ["torch.utils.tensorboard"], indirect=True)
def test_tensorboard(fake: Fake, tmp_path: Path) -> None:
    session("tensorboard", tmp_path)
    assert fake.calls == [
        ("SummaryWriter", (), {"log_dir": str(tmp_path / "tensorboard")}),
        ("add_scalar", ("sft/loss", 0.5, 1), {}),
        ("add_scalar", ("sft/tokens", 3, 1), {}),
        ("add_scalar", ("sft/loss", 0.25, 2), {}),
        ("close", (), {}),
    ]


@pytest.mark.parametrize("fake", ["wandb"], indirect=True)
def test_wandb_gives_each_stage_its_own_axis(fake: Fake, tmp_path: Path) -> None:
    session("wandb", tmp_path)
    assert fake.calls == [
        ("init", (), {"project": "truing", "name": "mine", "dir": str(tmp_path)}),
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
        ("init", (), {"project": "truing", "name": "mine"}),
        ("log", (SENT,), {"step": 1}),
        ("log", ({"sft/loss": 0.25},), {"step": 2}),
        ("finish", (), {}),
    ]


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
