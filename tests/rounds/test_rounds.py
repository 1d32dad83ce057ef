"""Rounds on the embedded world and on letters: what is asked, learnt and measured, and going on after a death."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from bare import leave_out
from rounds.collecting import judged_by, rounds_of, shorter

from truing.config import load_recipe, recipe_shelf
from truing.config.recipe import Recipe
from truing.core.errors import RunError
from truing.labelling.collection import existing
from truing.labelling.export_files import exported
from truing.labelling.items import Item, in_order
from truing.labelling.store import Store
from truing.rounds import asking
from truing.runs.metrics import read_jsonl
from truing.worlds.reviews import gold_scores

SMALL = [
    "variants={}",
    "world={demonstrations: 60, preferences: 8, prompts: 60}",
    "sft.epochs=1",
    "reward.epochs=2",
    "reward.members=3",
    "rewards.normalisation_samples=16",
    "ppo.updates=2",
    "ppo.episodes=8",
    "ppo.epochs=1",
    "rollout.max_new_tokens=12",
    "evaluation={prompts: 8, every: 2}",
    "data.heldout=0.3",
]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe(recipe_shelf()["quickstart"], SMALL)


@pytest.fixture(scope="module")
def pools() -> list[Sequence[Item]]:
    """What each round of `done` could have asked."""
    return []


@pytest.fixture(scope="module")
def done(recipe: Recipe, pools: list[Sequence[Item]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds on the embedded world, undisturbed."""

    def seen(items: Sequence[Item], *given: Any) -> list[Item]:
        pools.append(items)
        return in_order(items, *given)

    out = tmp_path_factory.mktemp("world") / "rounds"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "in_order", seen)
        leave_out(patch.setattr)
        rounds_of(recipe, out, judged_by(gold_scores))
    return out


def kept(out: Path) -> dict[str, Any]:
    """What rounds are judged by, without when it happened."""
    texts = {
        place.name: place.read_text() for folder in ("asked", "learnt") for place in sorted(out.glob(f"{folder}/*"))
    }
    return texts | {"figures": json.loads((out / "rounds.json").read_text())}


def record(run: Path) -> Any:
    return json.loads((run / "run.json").read_text())


def test_a_round_asks_about_the_policy_before_where_its_reward_models_disagree(
    done: Path, pools: list[Sequence[Item]]
) -> None:
    first, second = (read_jsonl(done / "asked" / f"round-{number}.jsonl") for number in (1, 2))
    assert {row["kind"] for row in first} == {"random"}
    assert not any("scores" in row for row in first)
    assert {source.split(",")[0] for row in first for source in row["sources"]} == {"start"}
    assert {source.split(",")[0] for row in second for source in row["sources"]} == {"round 1"}
    assert Counter(row["kind"] for row in second)["random"] in (2, 3, 4)  # a quarter of twelve, evenly spread
    chosen = [row["teaches"] for row in second if row["kind"] == "chosen"]
    assert chosen == sorted(chosen, reverse=True)
    above = [item.teaches for item in pools[1] if item.teaches is not None and item.teaches > min(chosen)]
    assert len(pools[1]) > 2 * len(second)
    assert len(above) - len(chosen) < 0.25 * len(pools[1]), "what teaches more and is not asked was drawn, a quarter"
    heldout = {row["prompt"] for row in read_jsonl(done / "round-1" / "ppo" / "samples.jsonl")}
    assert not heldout & {row["prompt"] for row in first + second}


def test_every_round_learns_from_the_labels_of_all_as_people_gave_them(done: Path) -> None:
    asked = [read_jsonl(done / "asked" / f"round-{number}.jsonl") for number in (1, 2)]
    learnt = [read_jsonl(done / "learnt" / f"round-{number}.jsonl") for number in (1, 2)]
    assert {row["source"] for row in learnt[0]} == {"round 1"}
    assert Counter(row["source"] for row in learnt[1]) == {
        "round 1": len(learnt[0]),
        "round 2": len(learnt[1]) - len(learnt[0]),
    }
    pairs = {(row["prompt"], *sorted(row["answers"])) for row in asked[0] + asked[1]}
    assert {(row["prompt"], *sorted((row["chosen"], row["rejected"]))) for row in learnt[1]} <= pairs
    for row in learnt[1]:
        better, worse = gold_scores([row["prompt"]] * 2, [row["chosen"], row["rejected"]])
        assert better >= worse  # where two are as good, it is a toss-up
    ratings = read_jsonl(done / "learnt" / "ratings-2.jsonl")
    assert [(row["completion"], row["label"]) for row in ratings] == [
        (row[side], side == "chosen") for row in learnt[1] for side in ("chosen", "rejected")
    ]


def test_each_round_is_a_run_with_its_lineage_and_the_start_is_trained_once(done: Path) -> None:
    for number in (1, 2):
        run = record(done / f"round-{number}")
        stages = {stage["name"]: stage for stage in run["stages"]}
        assert {stage["state"] for stage in stages.values()} == {"done"}
        assert stages["sft"]["taken_from"] == str(done / "start")
        assert run["fork"]["of"] == str(done / "start")
        learnt = done / "learnt" / f"round-{number}.jsonl"
        assert run["inputs"]["data.preferences"]["sha256"] == hashlib.sha256(learnt.read_bytes()).hexdigest()


def test_its_figures_are_those_of_the_runs(done: Path) -> None:
    found = json.loads((done / "rounds.json").read_text())
    gold = {}
    for number in (1, 2):
        rows = read_jsonl(done / f"round-{number}" / "ppo" / "samples.jsonl")
        for name, step in ((0, min(row["step"] for row in rows)), (number, max(row["step"] for row in rows))):
            gold[name] = {row["prompt"]: row["judges"]["gold"] for row in rows if row["step"] == step}
    means = {name: np.mean([*own.values()]) for name, own in gold.items()}
    assert found["start"]["judged"]["value"] == pytest.approx(means[0])
    assert [one["policy"]["judged"]["value"] for one in found["rounds"]] == pytest.approx([means[1], means[2]])
    best = 0
    for number, one in enumerate(found["rounds"], start=1):
        assert one["gain"]["against"] == best
        apart = np.array([gold[number][prompt] - gold[best][prompt] for prompt in gold[number]])
        half = 1.959963984540054 * apart.std(ddof=1) / len(apart) ** 0.5
        assert one["gain"]["mean"] == pytest.approx(apart.mean())
        assert one["gain"]["ci95"] == pytest.approx([apart.mean() - half, apart.mean() + half])
        best = number if apart.mean() - half > 0 else best
    assert found["best"] == best
    assert [one["spent"] for one in found["rounds"]] == [12, 24]
    scored = [row for row in read_jsonl(done / "asked" / "round-2.jsonl") if row["kind"] == "random"]
    truth = [np.diff(gold_scores([row["prompt"]] * 2, row["answers"]))[0] for row in scored]
    right = [gap * np.diff(row["scores"])[0] > 0 for gap, row in zip(truth, scored, strict=True) if gap]
    assert found["rounds"][1]["agreement"]["value"] == pytest.approx(np.mean(right))
    page = (done / "rounds.html").read_text()
    assert "round 2" in page
    assert "<script" not in page


@pytest.mark.usefixtures("bare")
def test_a_process_that_dies_goes_on_to_the_same(recipe: Recipe, done: Path, tmp_path: Path) -> None:
    """In the middle of judging, and between a round's labels and its run."""
    out, honest = tmp_path / "rounds", judged_by(gold_scores)
    deaths = [0]

    def dies_once(store: Store, what: str) -> None:
        deaths[0] += 1
        if deaths[0] in (1, 3):
            raise KeyboardInterrupt
        honest(store, what)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            rounds_of(recipe, out, dies_once)
    rounds_of(recipe, out, dies_once)
    assert kept(out) == kept(done)
    assert record(out / "round-2")["fork"]["of"] == str(out / "start")


@pytest.mark.usefixtures("bare")
def test_a_finished_one_does_nothing_more_and_goes_on_to_more_rounds(
    recipe: Recipe, done: Path, tmp_path: Path
) -> None:
    before = {place: place.stat().st_mtime_ns for place in done.rglob("*.safetensors")}

    def nobody(store: Store, what: str) -> None:
        raise AssertionError("everything is judged")

    rounds_of(recipe, done, nobody)
    assert {place: place.stat().st_mtime_ns for place in done.rglob("*.safetensors")} == before
    longer = tmp_path / "longer"
    shutil.copytree(done, longer)
    found = rounds_of(recipe, longer, judged_by(gold_scores), rounds=3)
    assert [one.spent for one in found.rounds] == [12, 24, 36]


def test_labels_that_were_changed_after_a_round_are_refused(recipe: Recipe, done: Path, tmp_path: Path) -> None:
    out = tmp_path / "changed"
    shutil.copytree(done, out)
    learnt = out / "learnt" / "round-1.jsonl"
    learnt.write_text(
        learnt.read_text().replace('"margin": 1', '"margin": 2') + learnt.read_text().splitlines()[0] + "\n"
    )
    with pytest.raises(RunError) as error:
        rounds_of(recipe, out, judged_by(gold_scores))
    assert error.value.code == "run/other-inputs"


@pytest.mark.parametrize("stages", [["sft", "reward", "ppo"], ["sft", "dpo"], ["dpo"], ["sft", "kto"]], ids="-".join)
def test_people_say_what_a_round_gained_where_no_judge_does(
    tmp_path: Path, stages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a reward model and without, from SFT and from the base, from pairs and from ratings; one with its report."""
    if stages != ["dpo"]:
        leave_out(monkeypatch.setattr)
    recipe = tiny.recipe(tmp_path / "recipe", stages=stages, **{"data.heldout": 0.4})
    out = tmp_path / "out"
    found = rounds_of(recipe, out, judged_by(shorter), rounds=1 if "reward" not in stages else 2, labels=8)
    assert found.judge is None
    page = (out / "round-1" / "report.html").read_text(encoding="utf-8")
    assert page.endswith("</html>") == (stages == ["dpo"])
    kept = existing(out / "labels.db").database
    assert set(exported(kept)) == set((out / "learnt").glob("*.jsonl"))  # where who is forgotten may still be
    assert (out / "round-1" / "labels.json").exists() == (
        stages != ["sft", "kto"]
    )  # how good people were, for the report
    asked = read_jsonl(out / "judged" / "round-1.jsonl")
    assert all(row["kind"] == "heldout" and row["sources"] == ["start", "round 1"] for row in asked)
    won = [np.sign(np.diff(shorter([], row["answers"]))[0]) for row in asked]
    assert found.rounds[0].gain.prompts == len(asked)
    assert found.rounds[0].gain.mean == pytest.approx(np.mean(won) if won else 0.0)
    prompts = {row["prompt"] for row in asked}
    assert not prompts & {row["prompt"] for row in read_jsonl(out / "learnt" / "round-1.jsonl")}


@pytest.mark.usefixtures("bare")
def test_it_ends_by_itself_where_nothing_is_gained(recipe: Recipe, done: Path, tmp_path: Path) -> None:
    """Two rounds of so tiny a policy gain nothing, so a third is not begun."""
    out = tmp_path / "patient"
    shutil.copytree(done, out)
    found = rounds_of(recipe, out, judged_by(gold_scores), rounds=5, patience=2)
    clear = [one.gain.is_clear for one in found.rounds]
    assert found.gains_nothing
    assert clear[-2:] == [False, False]
    assert len(clear) < 5
