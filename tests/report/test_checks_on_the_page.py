"""The report card of a reward model on the page: its verdicts, its drawings, and foreign text as text."""

from dataclasses import asdict
from pathlib import Path

import pytest
from report.example_run import CARD, write_json, write_run
from report.reading import Page, report

from truing.core.results import Check, Measure

HOSTILE = "<script>alert(1)</script> {{ 7*7 }} \u202e"
CHECKS = [
    Check("accuracy", "Right more often than a coin", "pass", "It is right.", [], "Chance is noise.", "Read pairs."),
    Check(
        "margin",
        "Right where it is surest",
        "warn",
        "Hardly.",
        [Measure("least sure third", 0.7, (0.6, 0.8), 30), Measure("surest third", 0.65, (0.5, 0.8), 30)],
        "Large differences count.",
        "Read the wrong ones.",
    ),
    Check("source", "Right on every source", "fail", HOSTILE, [Measure(HOSTILE, 0.2)], HOSTILE, HOSTILE),
    Check("cut", "Half is worth no more", "pass", "Fell.", [Measure("shift", -1.2, (-1.5, -1.0), 64)], "Why.", "Do."),
    Check("casing", "Capital letters", "not measured", "Nothing has one.", [], "Typing.", "Even it out."),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    root = write_run(tmp_path_factory.mktemp("runs") / "run", ("reward",))
    bag = Check("bag-of-words", "Better than counting words", "pass", "", [Measure("bag of words", 0.61)], "", "")
    write_json(root / "reward" / "result.json", CARD | {"checks": [asdict(check) for check in [*CHECKS, bag]]})
    return report(root)


def test_each_check_says_its_verdict_and_what_to_do_where_it_does_not_pass(page: Page) -> None:
    rows = {title.split(" ", 1)[1]: cells for title, cells in page.tables["reward-card"].items()}
    assert rows["Right more often than a coin"] == ["pass", "It is right."]
    assert rows["Right where it is surest"] == ["warn", "Hardly. Large differences count. Read the wrong ones."]
    assert rows["Capital letters"] == ["not measured", "Nothing has one."]
    assert [title.split()[0] for title in page.tables["reward-card"]][:5] == ["✓", "!", "✗", "✓", "–"]


def test_parts_shifts_and_the_bag_of_words_are_drawn(page: Page) -> None:
    parts = page.drawing("Accuracy on parts of the pairs")
    assert ("Least sure third" in parts, "Surest third" in parts, "Middle third" in parts) == (True, True, False)
    assert "Cut in half" in page.drawing("Shift of the score of changed answers")
    assert "Bag of words" in page.drawing("Held-out accuracy")


def test_foreign_text_is_text_and_none_is_drawn(page: Page) -> None:
    assert "script" not in {name for name, _ in page.tags}
    shown = HOSTILE.replace("\u202e", "⟨U+202E⟩")
    assert "".join(page.texts["reward-card"]).count(shown) == 3  # finding, why and advice
    assert "alert" not in page.drawing("Accuracy on parts of the pairs")


def test_a_run_without_checks_has_no_such_section(tmp_path: Path) -> None:
    assert "reward-card" not in report(write_run(tmp_path / "run", ("reward",))).tables
