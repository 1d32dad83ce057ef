"""Who stands out: of simulated people, those of bad habits, and seldom honest ones, at stated rates over seeds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from labelling.collecting import pair, person, store_of
from labelling.simulating import Habit, said

from truing.core.label_quality import LabelQuality
from truing.labelling import quality
from truing.labelling.quality import label_quality, quality_of
from truing.labelling.simulated import AtStore, SimulatedPerson, biased, judge_all, spammer

SEEDS = 20
OTHERS: dict[str, Habit] = dict.fromkeys(("Ben", "Cleo", "Dora", "Emil"), "honest")


@pytest.fixture(autouse=True)
def _no_intervals_of_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "DRAWS", 2)  # nobody stands out by alpha, and its interval takes most of the time


def runs(habit: Habit, votes: int) -> list[LabelQuality]:
    """Anna has this habit, and gives about so many votes; each item is judged by three of five people."""
    items = votes * 5 // 3
    return [quality_of(said({"Anna": habit} | OTHERS, items, 3, seed, items // 10), "pairs") for seed in range(SEEDS)]


@pytest.mark.parametrize(
    ("habit", "votes", "why", "least"),
    [
        ("spammer", 120, "votes follow", 18),
        ("spammer", 120, "known answers", 14),
        ("contrary", 60, "votes follow", 19),
        ("left", 120, "prefer the left", 19),
        ("longer", 120, "prefer the longer", 18),
        ("hasty", 60, "faster than", 20),
        ("careless", 300, "votes follow", 10),
    ],
)
def test_who_judges_otherwise_is_found(habit: Habit, votes: int, why: str, least: int) -> None:
    found = Counter(
        person.name
        for told in runs(habit, votes)
        for person in told.people
        if any(why in one for one in person.findings)
    )
    assert found["Anna"] >= least
    assert found.total() - found["Anna"] <= 2, "of 80 who are honest"


@pytest.mark.parametrize("votes", [20, 60, 300])
def test_honest_people_seldom_stand_out(votes: int) -> None:
    people = [person for told in runs("honest", votes) for person in told.people]
    assert sum(bool(person.findings) for person in people) <= 5, "of 100"


def test_of_two_who_disagree_neither_stands_out() -> None:
    told = quality_of(said({"Anna": "spammer", "Ben": "honest"}, 300, 2, 0), "pairs")
    assert [person.findings for person in told.people] == [[], []]
    assert told.alpha.value == pytest.approx(0.0, abs=0.15), "but that nothing is agreed on shows"


def test_few_votes_mark_nobody() -> None:
    told = quality_of(said({"Anna": "contrary"} | OTHERS, 8, 3, 0), "pairs")
    assert [person.findings for person in told.people] == [[]] * 5


def test_people_who_judge_at_a_store_are_found_by_what_they_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # By chance alone an honest one stands out at times.
    monkeypatch.setattr("truing.labelling.store.secrets.randbelow", Random(0).randrange)

    def gold(prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
        return [float(answer.count("good")) for answer in answers]

    texts = [f"good {'good ' * (number % 3)}" + "word " * 20 for number in range(60)]
    items = [
        replace(pair(number), answers=(text, f"{number} {texts[number // 2]}")) for number, text in enumerate(texts)
    ]
    people = {name: SimulatedPerson(gold, seconds=60.0) for name in ("Anna", "Ben", "Cleo")}
    people |= {"Dora": spammer(gold), "Emil": replace(biased(gold), left=4.0, seconds=60.0)}
    store = store_of(tmp_path, items, each=len(people))
    for seed, (name, simulated) in enumerate(people.items()):
        assert judge_all(simulated, AtStore(store, person(store, name)), seed) == 60
    found = {one.name: " ".join(one.findings) for one in label_quality(store.database, "pairs").people}
    assert [found[name] for name in ("Anna", "Ben", "Cleo")] == ["", "", ""]
    assert "prefer the left side" in found["Dora"]
    assert "faster than anyone reads" in found["Dora"]
    assert "prefer the left side" in found["Emil"]
