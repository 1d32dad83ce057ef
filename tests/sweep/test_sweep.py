"""A sweep of real runs, undisturbed, and killed and stopped again and again until it is done."""

import json
import signal
import time
from pathlib import Path
from statistics import fmean

import pytest
import tiny
from faults.killed import left_behind
from forked import BARE, Forked, zygote

from truing.functional import best_of_n_kl_bound, best_of_n_mean
from truing.runs.metrics import read_jsonl

pytestmark = pytest.mark.long

FUNCTIONS = """
def a(prompts, responses):
    return [float(response.count("a")) for response in responses]


def short(prompts, responses):
    return [-float(len(response)) for response in responses]
"""
CHANGES = {"sft.epochs": 1, "ppo.updates": 2, "ppo.epochs": 1, "evaluation.every": 1, "checkpoints.every_steps": 1}
BETAS, EPOCHS = (0.1, 1.0), (1, 2)
DRAWN = 4
RUNS = [f"reward.epochs={epochs},ppo.kl.beta={beta}/seed-17" for epochs in EPOCHS for beta in BETAS]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sweep")
    (place / "own.py").write_text(FUNCTIONS)
    rewards = [{"kind": "stage"}, {"kind": "function", "path": f"{place / 'own.py'}:a", "weight": 0.5}]
    judges = {"length": f"{place / 'own.py'}:short"}
    return tiny.recipe_file(place, **CHANGES, **{"rewards.sources": rewards, "evaluation.judges": judges})


def start(recipe: Path, out: Path) -> Forked:
    """`truing sweep`, what it says in a file beside `out`; its runs are forked from it."""
    grid = ["--set", "reward.epochs=1,2", "--set", "ppo.kl.beta=0.1,1.0", "--jobs", "2", "--best-of", str(DRAWN)]
    arguments = ["sweep", str(recipe), *grid, "--out", str(out)]
    return zygote().start(arguments, out.with_suffix(".log"), hurried=True, without=BARE)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> Path:
    out = recipe.parent / "undisturbed"
    assert start(recipe, out).wait() == 0
    return out


def kept(out: Path) -> dict[str, str]:
    """What a sweep is judged by: all of its files but those that say what happened when."""
    files = {name: content for name, content in left_behind(out).items() if Path(name).suffix != ".log"}
    return {name: content for name, content in files.items() if Path(name).name not in OF_THE_TIME}


OF_THE_TIME = ("run.json", "report.html", "report.json", ".lock")


def test_what_runs_have_alike_is_trained_once(undisturbed: Path) -> None:
    taken = {}
    for name in RUNS:
        record = json.loads((undisturbed / name / "run.json").read_text())
        taken[name] = {stage["name"]: stage["taken_from"] for stage in record["stages"]}
        assert {stage["state"] for stage in record["stages"]} == {"done"}
    first, second, third, fourth = RUNS
    places = {name: str(undisturbed / name) for name in RUNS}
    assert taken[first] == dict.fromkeys(["sft", "reward", "ppo"])
    assert taken[second] == {"sft": places[first], "reward": places[first], "ppo": None}
    assert taken[third] == {"sft": places[first], "reward": None, "ppo": None}
    assert taken[fourth] == {"sft": places[third], "reward": places[third], "ppo": None}


def test_its_figures_are_those_of_the_runs(undisturbed: Path) -> None:
    found = json.loads((undisturbed / "frontier.json").read_text())
    assert [(one["values"], one["origin"]) for one in found["policies"]] == [
        ({"reward.epochs": epochs, "ppo.kl.beta": beta}, f"reward.epochs={epochs}")
        for epochs in EPOCHS
        for beta in BETAS
    ]
    for name, policy in zip(RUNS, found["policies"], strict=True):
        rows = read_jsonl(undisturbed / name / "ppo" / "metrics.jsonl")
        assert [(one["step"], one["kl"], one["rewards"]) for one in policy["evaluations"]] == [
            (row["step"], row["heldout_kl"], {"score": row["heldout_score"], "judge_length": row["judge_length"]})
            for row in rows
        ]
        for end, row in (("first", rows[0]), ("last", rows[-1])):
            said = [row["response"] for row in _samples(undisturbed / name, row["step"])]
            means = {measure: each["mean"] for measure, each in policy[end].items()}
            assert means["score"] == pytest.approx(row["heldout_score"])
            assert means["judge_length"] == pytest.approx(-fmean(map(len, said)))
            assert means["distinct_1"] == pytest.approx(_distinct_words(said))
            assert policy[end]["score"]["ci95"] is None  # of one seed
        assert policy["first"]["entropy"]["mean"] == rows[1]["entropy"]
        assert policy["last"]["entropy"]["mean"] == rows[-1]["entropy"]


def _samples(run: Path, step: int) -> list[dict[str, str]]:
    return [row for row in read_jsonl(run / "ppo" / "samples.jsonl") if row["step"] == step]


def _distinct_words(texts: list[str]) -> float:
    words = [word for text in texts for word in "".join(one if one.isalnum() else " " for one in text).split()]
    return len(set(words)) / max(1, len(words))


def test_best_of_n_is_measured_once_for_each_reward_model(undisturbed: Path) -> None:
    import torch

    found = json.loads((undisturbed / "frontier.json").read_text())["baselines"]
    assert list(found) == [f"reward.epochs={epochs}" for epochs in EPOCHS]
    for origin, points in found.items():
        drawn = json.loads((undisturbed / "best-of-n" / origin / "seed-17.json").read_text())
        scores, judged = (torch.tensor(drawn["measures"][name]) for name in ("score", "judge_length"))
        assert scores.shape == judged.shape == (4, DRAWN)  # held-out prompts
        assert [one["n"] for one in points] == [1, 2, 4]
        for one in points:
            assert one["kl_bound"] == best_of_n_kl_bound(one["n"])
            assert one["rewards"]["score"]["mean"] == pytest.approx(best_of_n_mean(scores, scores, one["n"]))
        best = scores.argmax(1, keepdim=True)
        assert points[-1]["rewards"]["score"]["mean"] == pytest.approx(float(scores.max(1).values.mean()))
        assert points[-1]["rewards"]["judge_length"]["mean"] == pytest.approx(float(judged.gather(1, best).mean()))
        assert points[0]["rewards"]["judge_length"]["mean"] == pytest.approx(float(judged.mean()))


def test_killed_and_stopped_anywhere_it_ends_as_if_it_had_not_been(recipe: Path, undisturbed: Path) -> None:
    out = recipe.parent / "disturbed"
    for number, place in (
        (signal.SIGTERM, f"{RUNS[0]}/sft/result.json"),
        (signal.SIGKILL, f"{RUNS[2]}/ppo/metrics.jsonl"),
    ):
        sweep = start(recipe, out)
        while not (out / place).exists():
            assert sweep.poll() is None
            time.sleep(0.005)
        sweep.send_signal(number)
        assert sweep.wait() == (128 + number if number == signal.SIGTERM else -number)
    assert "truing: interrupted. The same command goes on from what is saved." in out.with_suffix(".log").read_text()
    assert start(recipe, out).wait() == 0
    assert kept(out) == kept(undisturbed)
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.parent != out}
    assert start(recipe, out).wait() == 0
    after = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.parent != out}
    assert after == before  # a finished one is read, and the page written again


def test_runs_that_began_with_other_files_are_not_joined_with_new_ones(recipe: Path, undisturbed: Path) -> None:
    functions, page = recipe.parent / "own.py", (undisturbed / "frontier.json").read_bytes()
    functions.write_text(FUNCTIONS.replace('count("a")', 'count("b")'))
    try:
        assert start(recipe, undisturbed).wait() == 2
    finally:
        functions.write_text(FUNCTIONS)
    said = " ".join(undisturbed.with_suffix(".log").read_text().split())
    assert said.count("the run was begun with other content of") == len(RUNS)
    assert (undisturbed / "frontier.json").read_bytes() == page
