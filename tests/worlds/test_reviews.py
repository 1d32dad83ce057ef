"""The gold score against values worked out by hand, and the rows that a world is made of."""

import math

import pytest

from truing.worlds.reviews import demonstrations, gold_scores, preferences, prompts

PROMPT = "review of the kettle and its lid after a week :"


def raw(response: str, prompt: str = PROMPT) -> float:
    """The raw score: gold = (raw - 0.12) / 3."""
    return 0.12 + 3.0 * gold_scores([prompt], [response])[0]


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("it came in a box .", 0.0),
        ("the lid is good .", 1.3),
        ("The lid is good.", 1.3),
        ("the lid is really good .", 1.3 * 1.3),
        ("the lid is awful and its price is very bad .", -3.0 - 1.4 * 2.0),
        ("the lid is bad but its price is good .", -2.0 + 1.3),
        ("its price is good but the lid is bad .", 1.3 - 2.0),
    ],
)
def test_praise_is_valence_times_degree_summed_in_any_order(response: str, expected: float) -> None:
    assert raw(response) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("the lid is incredibly superb .", 6.0),
        ("the lid is incredibly superb and its price is good .", 7.3 - 2 * 1.3),
        ("the lid is incredibly superb and its price is incredibly perfect .", 12.0 - 2 * 6.0),
    ],
)
def test_gushing_turns_praise_against_itself(response: str, expected: float) -> None:
    assert raw(response) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("the lid is good and its price is good .", 2 * 1.3 - 1.5),
        ("the lid is good and the lid is nice .", 2 * 1.3 - 1.5),
        ("the lid is good . the lid is good .", 2 * 1.3 - 2 * 1.5),
        ("the lid is good . the lid is good . the lid is good .", 3 * 1.3 - 4 * 1.5),
        ("it is good and it is nice .", 2 * 1.3),
    ],
)
def test_an_adjective_or_aspect_said_again_costs(response: str, expected: float) -> None:
    assert raw(response) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("the screen is good .", 1.3 - 0.6),
        ("this lamp was good .", 1.3 - 0.6),
        ("the dog sleeps under a tree .", -4 * 0.6),
        ("the weather was cold near the harbour .", -4 * 0.6),
        ("the lid is qwerty .", -0.6 - 1.5),
    ],
)
def test_a_word_off_the_topic_costs(response: str, expected: float) -> None:
    assert raw(response) == pytest.approx(expected)


def test_only_a_known_product_makes_other_products_stray() -> None:
    assert raw("the screen is good .", "review of the phone :") == pytest.approx(1.3)
    assert raw("the screen is good .", "what do you think ?") == pytest.approx(1.3)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("", -2 * 1.5),
        (".", -1.5),
        ("good .", -1.5),
        ("good is the lid .", -1.5),
        ("the lid is good", 1.3 - 1.5),
        ("the lid is good . .", 1.3 - 1.5),
        ("the lid is good and .", 1.3 - 1.5),
        ("the lid is very very good .", -1.5),
        ("fairly good . fairly good .", -2 * 1.5 - 1.5),
    ],
)
def test_a_broken_clause_or_a_missing_end_costs_and_praises_nothing(response: str, expected: float) -> None:
    assert raw(response) == pytest.approx(expected)


def test_each_word_beyond_26_costs() -> None:
    short = "i use it every day . it came in a box . i bought it last month . it does the job ."
    assert len(short.split()) == 23
    assert raw(short) == pytest.approx(0.0)
    assert raw(short + " we keep it at home .") == pytest.approx(-0.3 * 3)


def test_gold_has_mean_0_and_deviation_1_on_demonstrations() -> None:
    rows = demonstrations(5000, seed=3)
    gold = gold_scores([row["prompt"] for row in rows], [row["completion"] for row in rows])
    mean = sum(gold) / len(gold)
    assert mean == pytest.approx(0.0, abs=4 / math.sqrt(len(gold)))
    assert sum((score - mean) ** 2 for score in gold) / len(gold) == pytest.approx(1.0, abs=0.1)


def test_a_review_has_16_tokens_on_average() -> None:
    rows = demonstrations(3000, seed=4)
    assert sum(len(row["completion"].split()) + 1 for row in rows) / len(rows) == pytest.approx(16.5, abs=0.7)


@pytest.mark.parametrize("make", [demonstrations, preferences, prompts])
def test_rows_depend_on_seed_and_number_alone(make) -> None:
    assert make(40, seed=17) == make(40, seed=17)
    assert make(40, seed=17)[:10] == make(10, seed=17)
    assert make(40, seed=17) != make(40, seed=18)


def test_labels_are_bradley_terry_draws_of_gold_and_agree_with_it_four_times_in_five() -> None:
    rows = preferences(3000, seed=5)
    asked = [row["prompt"] for row in rows]
    chosen, rejected = (gold_scores(asked, [row[side] for row in rows]) for side in ("chosen", "rejected"))
    apart = [a - b for a, b in zip(chosen, rejected, strict=True) if a != b]
    agreed = sum(gap > 0 for gap in apart)
    chances = [1 / (1 + math.exp(-2 * abs(gap))) for gap in apart]
    assert agreed == pytest.approx(sum(chances), abs=4 * math.sqrt(sum(p * (1 - p) for p in chances)))
    assert 0.78 < agreed / len(apart) < 0.84
    assert all(row["chosen"] != row["rejected"] for row in rows)


def test_no_opening_comes_twice_until_all_2160_have_come() -> None:
    asked = [row["prompt"] for row in prompts(2200, seed=6)]
    assert len(set(asked[:2160])) == 2160
    assert asked[2160:] == asked[:40]
