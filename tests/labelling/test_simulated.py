"""Simulated people: what they press is what their formula says, at the store and at the page alike."""

import math
import random
from collections import Counter
from pathlib import Path

import pytest
from labelling.collecting import ask_all, person, served, store_of

from truing.labelling.items import Item
from truing.labelling.people import new_link
from truing.labelling.quality import label_quality
from truing.labelling.simulated import AtPage, AtStore, SimulatedPerson, biased, careless, judge_all, spammer
from truing.labelling.store import Given
from truing.worlds.reviews import demonstrations, gold_scores

SEED = 5


def numbers(prompts: list[str], answers: list[str]) -> list[float]:
    """A world in which an answer's true reward is its first word."""
    return [float(answer.split()[0]) for answer in answers]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def presses(who: SimulatedPerson, first: str, second: str, count: int = 4000, mode: str = "pairs") -> list[int]:
    """The keys for as many prompts."""
    answers = [first, second] if mode == "pairs" else [first]
    return [who.judges(Given(1, f"prompt {n}", answers), mode, SEED)[0] for n in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("gap", "temperature"), [(0.0, 0.5), (0.5, 0.5), (1.0, 1.0), (-0.6, 0.3)])
def test_an_honest_person_is_an_ordered_logit_around_bradley_terry(gap: float, temperature: float) -> None:
    """The left is better: P(key ≤ k) = σ(gap / temperature − cut), cuts from the module's own words 2.5, 1, 0.2."""
    keys = Counter(presses(SimulatedPerson(numbers, temperature), f"{gap} one", "0 other"))
    cuts = {1: 2.5, 2: 1.0, 3: 0.2, 4: -0.2, 5: -1.0, 6: -2.5}
    for key, cut in cuts.items():
        share = sum(keys[low] for low in range(1, key + 1)) / 4000
        assert share == pytest.approx(sigmoid(gap / temperature - cut), abs=0.025)


def test_changed_sides_mirror_the_key_of_who_does_not_care_for_sides() -> None:
    honest = SimulatedPerson(numbers, careless=0.3)
    there, back = presses(honest, "0.3 one", "0 other", 200), presses(honest, "0 other", "0.3 one", 200)
    assert [8 - key for key in back] == there
    assert presses(honest, "0.3 one", "0 other", 200) == there


def test_a_biased_person_favours_the_left_and_the_longer() -> None:
    keys = presses(biased(numbers), "0 a", "0 b")
    assert sum(key < 4 for key in keys) / 4000 == pytest.approx(sigmoid(1.0 - 0.2), abs=0.025)
    keys = presses(SimulatedPerson(numbers, longer=0.5), "0 a a a", "0 b")
    assert sum(key < 4 for key in keys) / 4000 == pytest.approx(sigmoid(0.5 * 2 - 0.2), abs=0.025)


def test_a_careless_person_presses_any_key_for_the_share_that_it_says() -> None:
    keys = Counter(presses(SimulatedPerson(numbers, careless=1.0), "9 one", "0 other", 7000))
    assert all(keys[key] == pytest.approx(1000, abs=120) for key in range(1, 8))
    wrong = sum(key > 4 for key in presses(careless(numbers), "9 one", "0 other")) / 4000
    assert wrong == pytest.approx(0.5 * 3 / 7, abs=0.025)


def test_a_spammer_presses_one_key_fast() -> None:
    assert set(presses(spammer(numbers), "0 one", "9 other", 50)) == {1}
    given = [Given(1, f"prompt {n}", ["0 one", "9 other"]) for n in range(400)]
    mean = sum(spammer(numbers).judges(one, "pairs", SEED)[1] for one in given) / 400
    assert mean == pytest.approx(0.5, abs=0.1)


def test_ratings_rise_with_gold_and_yes_is_above_its_mean() -> None:
    honest = SimulatedPerson(numbers)
    good, bad = (presses(honest, f"{gold} answer", "", 500, "rate") for gold in (2.0, -2.0))
    assert sum(good) > sum(bad) + 2 * 500
    yes = presses(honest, "0.5 answer", "", mode="yes-no")
    assert sum(yes) / 4000 == pytest.approx(sigmoid(1.0), abs=0.025)


def world_items(count: int) -> list[Item]:
    rows = demonstrations(2 * count, SEED)
    return [
        Item(one["prompt"], (one["completion"], other["completion"]), ("a", "b"))
        for one, other in zip(rows[::2], rows[1::2], strict=True)
    ]


def test_the_page_and_the_store_are_judged_alike(tmp_path: Path) -> None:
    """The same items by one honest person, once each way: what is kept does not tell which way."""
    kept = []
    for way in ("page", "store"):
        (tmp_path / way).mkdir()
        store = store_of(tmp_path / way, world_items(30))
        honest = SimulatedPerson(gold_scores)
        if way == "page":
            with served(store) as url:
                link = f"{url}/?t={new_link(store.database, 'Anna', 'labeller')}"
                assert judge_all(honest, AtPage(link), SEED, most=12) == 12
                assert judge_all(honest, AtPage(link), SEED) == 18
            store = store_of(tmp_path / way, world_items(30))
        else:
            assert judge_all(honest, AtStore(store, person(store, "Anna")), SEED) == 30
        kept.append(ask_all(store, "SELECT key, value FROM standing JOIN items ON items.id = item ORDER BY key"))
    assert kept[0] == kept[1]
    assert len(kept[0]) == 30


def test_the_lead_sees_who_is_who(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sides are drawn by the store: the share for the left tells a spammer and a biased person from an honest one."""
    monkeypatch.setattr("truing.labelling.store.secrets.randbelow", random.Random(SEED).randrange)
    store = store_of(tmp_path, world_items(200), each=3)
    people = {"honest": SimulatedPerson(gold_scores), "biased": biased(gold_scores), "spammer": spammer(gold_scores)}
    for name, who in people.items():
        judge_all(who, AtStore(store, person(store, name)), SEED)
    found = {one.name: one for one in label_quality(store.database, "pairs").people}
    left = {name: one.behaviour.left.value or 0.0 for name, one in found.items()}
    assert left["spammer"] == 1.0
    assert left["biased"] > 0.55 > left["honest"] > 0.35
    assert (found["spammer"].seconds or 9) < 1.0 < (found["honest"].seconds or 0)
