"""The page of a sweep: its table, its sentences and its drawings are those of its figures, and no text in it acts."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import scipy.stats
from report.reading import Page

from truing.functional import FrontierFit
from truing.sweep.baseline import Drawn
from truing.sweep.frontier import BEST, ONLINE, BestOf, Evaluation, Fit, Frontier, Mean, Policy, fits_of, mean_of
from truing.sweep.page import render, write_frontier
from truing.sweep.words import sentences

HOSTILE = "<script>alert(1)</script>\u202e"
SEEDS = (17, 18, 19)


def policy(name: str, value: object, kl: float, score: float, judge: str = "judge_gold", origin: str = "") -> Policy:
    """One that ends at this KL and score, give or take a little by seed."""
    last = {"kl": kl, "score": score, judge: -score, "entropy": 1.0}
    return Policy(
        name=name,
        stage="ppo",
        values={"ppo.kl.beta": value},
        origin=origin,
        last={key: mean_of({seed: mean + 0.01 * seed for seed in SEEDS}) for key, mean in last.items()},
        first={key: mean_of(dict.fromkeys(SEEDS, 0.0)) for key in last},
        evaluations=[
            Evaluation(seed, step, kl * step, {"score": score * step, judge: -score * step})
            for seed in SEEDS
            for step in (0, 1)
        ],
    )


def frontier(*policies: Policy, judge: str = "judge_gold") -> Frontier:
    fit = Fit("score", "", None, FrontierFit(ONLINE, 0.5, 0.2, 0.9, 12), peak=1.5, start=0.0, to=3.0)
    poor = Fit(judge, "", None, FrontierFit(BEST, 0.5, 0.2, 0.1, 12), peak=1.25, start=0.0, to=3.0)
    best = [BestOf(n, kl, {"score": Mean(gain, None, {}), judge: Mean(gain, None, {})}, 0) for n, kl, gain in BOUNDS]
    return Frontier(
        name="recipe",
        keys=["ppo.kl.beta"],
        seeds=list(SEEDS),
        runs=3 * len(policies),
        done=3 * len(policies),
        measures=["kl", "score", judge, "entropy"],
        rewards=["score", judge],
        policies=list(policies),
        baselines={"": best},
        fits=[fit, poor],
    )


BOUNDS = ((1, 0.0, 0.0), (2, 0.193, 0.5), (4, 0.636, 0.8))
ORDINARY = frontier(policy("ppo.kl.beta=0.1", 0.1, 4.0, 2.0), policy("ppo.kl.beta=1.0", 1.0, 0.25, 0.5))


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(ORDINARY))


def test_the_interval_over_seeds_is_students() -> None:
    values = {17: 0.2, 18: 0.9, 19: 0.4}
    found = mean_of(values)
    expected = scipy.stats.t.interval(0.95, 2, loc=0.5, scale=scipy.stats.sem(list(values.values())))
    assert (found.mean, found.ci95) == (pytest.approx(0.5), pytest.approx(expected))
    assert mean_of({17: 0.2}).ci95 is None
    low, high = mean_of({17: 0.0, 18: 1.0}, (0.0, 1.0)).ci95 or (None, None)
    assert (low, high) == (0.0, 1.0)  # as far as a share goes


def test_the_table_has_a_row_for_each_policy_between_the_start_and_best_of_n(page: Page) -> None:
    rows = page.tables["table"]
    assert list(rows)[1:] == ["start", "1. ppo.kl.beta=0.1", "2. ppo.kl.beta=1.0", "best of 4"]
    assert [cell.split()[0] for cell in rows["1. ppo.kl.beta=0.1"]] == ["4.18", "2.18", "−1.82", "1.18"]
    assert rows["best of 4"][:2] == ["≤ 0.64 a bound", "0.80"]
    assert rows["best of 4"][3] == "–"


def test_fits_say_where_they_peak_and_where_they_are_poor(page: Page) -> None:
    rows = page.tables["fits"]
    assert rows["Score"][-1] == "√KL 1.50, 2.25 nats"
    assert rows["Judge: gold"][-1] == "a poor fit"
    assert "peak" not in " ".join(one for one in sentences(ORDINARY) if "gold" in one)


def test_each_seed_has_a_fit_of_its_own_beside_that_of_all() -> None:
    curves = {17: (0.7, 0.4), 18: (0.3, 0.1)}
    evaluations = [
        Evaluation(seed, step, (0.5 * step) ** 2, {"score": 1.0 + _gain(0.5 * step, *curves[seed])})
        for seed in curves
        for step in range(8)
    ]
    first = {"score": mean_of(dict.fromkeys(curves, 1.0))}
    own = Policy("ppo", "ppo", {}, "", last=first, first=first, evaluations=evaluations)
    fits = {fit.seed: fit for fit in fits_of("score", [own], {})}
    assert list(fits) == [None, 17, 18]
    for seed, curve in curves.items():
        assert (fits[seed].found.alpha, fits[seed].found.beta) == pytest.approx(curve)
        assert fits[seed].start == 1.0
    assert fits[17].peak == pytest.approx(math.exp(0.7 / 0.4 - 1))
    assert fits[18].peak is None  # at e², beyond 3.5
    assert fits[None].found.points == 14
    assert fits[None].found.explained < 0.9


def _gain(distance: float, alpha: float, beta: float) -> float:
    return distance * (alpha - beta * math.log(distance)) if distance else 0.0


def test_the_first_sentences_say_what_ends_highest_and_beside_what() -> None:
    told = sentences(ORDINARY)
    assert told[0].startswith("Score: ppo.kl.beta=0.1 ends highest, at 2.18")
    assert "the best of 4 of its answers at 0.80 and at most 0.64 nats" in told[0]
    half = Frontier(**{**vars(ORDINARY), "done": 2})
    assert sentences(half)[0].startswith("2 of 6 runs are done")


def test_each_policy_is_drawn_in_its_colour_and_best_of_n_beside_it(page: Page) -> None:
    drawing = page.drawing("Score, SFT deviations against √KL")
    assert {f"--series-{place}" for place in (0, 1)} == set(re.findall(r"--series-\d", drawing))
    assert "var(--muted)" in drawing
    assert re.findall(r">(0\.1|1)</text>", page.drawing("Entropy, nats a token"))[:2] == ["0.1", "1"]


def test_nothing_that_a_recipe_says_acts_on_the_page() -> None:
    judge = f"judge_{HOSTILE}"
    page = Page(render(frontier(policy(f"key={HOSTILE}", HOSTILE, 1.0, 1.0, judge), judge=judge)))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "object", "link"})
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "\u202e" not in page.html
    assert "<script" not in page.html
    assert not re.search(r"https?://(?!www\.w3\.org)", page.html)


def test_the_figures_are_written_beside_the_page(tmp_path: Path, page: Page) -> None:
    assert write_frontier(ORDINARY, tmp_path).read_text(encoding="utf-8") == page.html
    found = json.loads((tmp_path / "frontier.json").read_text(encoding="utf-8"))
    assert found["policies"][0]["last"]["score"]["by_seed"] == {"17": 2.17, "18": 2.18, "19": 2.19}
    assert found["fits"][0]["found"]["alpha"] == 0.5


def test_more_than_six_policies_are_told_apart_by_their_shapes() -> None:
    page = render(frontier(*(policy(f"ppo.kl.beta={place}", place, 1.0 + place, 1.0) for place in range(8))))
    shapes = re.findall(r'<path d="([^"]+)" style="fill: var\(--series-(\d)\)', page)
    assert len(set(shapes[:8])) == 8


def test_judges_may_be_what_differs_between_origins() -> None:
    policies = [
        policy("judges=a", "a", 4.0, 2.0, judge="judge_a", origin="judges=a"),
        policy("judges=b", "b", 1.0, 1.0, judge="judge_b", origin="judges=b"),
    ]
    best = {
        f"judges={name}": [
            BestOf(n, kl, dict.fromkeys(("score", f"judge_{name}"), Mean(0.0, None, {})), 0) for n, kl, _ in BOUNDS
        ]
        for name in "ab"
    }
    for baselines in (best, {}):
        found = replace(frontier(*policies), baselines=baselines, rewards=["score", "judge_a", "judge_b"], fits=[])
        shown = render(found)
        assert shown.count("<h4>Judge: a</h4>") == shown.count("<h4>Judge: b</h4>") == 1
        assert not [fit for fit in fits_of("judge_a", policies, baselines) if fit.origin == "judges=b"]


def test_no_baseline_where_no_prompt_has_numbers_for_all_of_its_answers() -> None:
    assert Drawn("digest", 4, {"score": []}, dropped=3).numbers == []
    assert Drawn("digest", 4, {"score": [[0.0, 1.0, 2.0, 3.0]]}, dropped=2).numbers == [1, 2, 4]
