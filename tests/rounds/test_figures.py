"""Figures over rounds, from files and votes."""

from pathlib import Path

import pytest
import tiny

from truing.labelling.items import Item
from truing.rounds import figures
from truing.rounds.asking import ScoredItem, write_asked
from truing.rounds.directory import RoundsDirectory


def test_a_gain_is_over_whose_answers_people_saw_whatever_is_voted_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second round people saw the answers of the first, which was the best until somebody was forgotten."""
    directory = RoundsDirectory(tmp_path)
    monkeypatch.setattr(figures, "heldout_rows", lambda *_: {("a", 0): {"judges": {}, "length": 3}})
    for folder in ("asked", "judged", "learnt"):
        (tmp_path / folder).mkdir()
    shown = {1: ("start", "round 1"), 2: ("round 1", "round 2")}
    asked = {
        number: [Item(f"{place}?", (f"a{number}", f"b{number}"), sources, "heldout") for place in range(4)]
        for number, sources in shown.items()
    }
    for number, items in asked.items():
        write_asked(directory.judged(number), [ScoredItem(item, None) for item in items])
        write_asked(directory.asked(number), [])
        directory.learnt(number).write_text("")
    new_is_better = {item.key: 7.0 for item in asked[1]}
    old_is_better = {item.key: 1.0 for item in asked[2]}
    recipe = tiny.recipe(tmp_path / "recipe")
    for votes, first_gain in ((new_is_better | old_is_better, 1.0), (old_is_better, 0.0)):
        found = figures.figures_of(directory, recipe, votes, 2, patience=3)
        assert [(one.gain.mean, one.gain.against) for one in found.rounds] == [(first_gain, 0), (-1.0, 1)]
