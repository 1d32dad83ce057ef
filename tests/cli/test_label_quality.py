"""truing label --quality, and what goes beside an export into the report of a run."""

import json
import secrets
import sys
from pathlib import Path
from random import Random

import pytest
import tiny
from cli.conftest import Command
from labelling.collecting import a_vote, for_first, person

from truing.core.label_quality import LabelQuality, from_json
from truing.labelling.collection import Wanted, begin, items_to_ask
from truing.labelling.places import put_items
from truing.runs.files import sha256_file


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pairs that Anna and Ben judged, alike, and Cleo as the left side is; their sides are the same each time.

    Of sides that are drawn anew, the better answers of an honest person lie too often on one in one of a hundred runs.
    """
    monkeypatch.setattr(secrets, "randbelow", Random(0).randrange)
    recipe = tiny.recipe_file(tmp_path, stages=["sft", "reward"])
    file = recipe.parent / "preferences.jsonl"
    store = begin(file.with_suffix(".labels.db"), "pairs")
    items = items_to_ask(Wanted(file, random_share=1.0), "pairs")
    put_items(store.database, items, 3)
    better = {item.prompt: index % 2 for index, item in enumerate(items)}
    for name in ("Anna", "Ben", "Cleo"):
        who = person(store, name)
        while (given := store.next(who)) is not None:
            own = for_first(store, given.assignment, 2 if better[given.prompt] else -2)
            store.vote(who, a_vote(given.assignment, 1 if name == "Cleo" else own, seconds=20.0))
    store.database.close()
    return file


def written(file: Path) -> LabelQuality:
    found = from_json(json.loads(file.read_text(encoding="utf-8")))
    assert found is not None
    return found


def test_a_screen_says_how_good_they_are_and_who_stands_out(rows: Path, truing: Command) -> None:
    said = truing("label", rows, "--quality")
    assert said.code == 0, said
    lines = said.out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines[:-1])) <= 100
    assert lines[0].endswith("of them by several people.")
    assert [line.split()[:2] for line in lines if line.startswith(("Anna", "Ben", "Cleo"))][:3] == [
        ["Anna", "(1)"],
        ["Ben", "(2)"],
        ["Cleo", "(3)"],
    ]
    assert any(line.startswith("Cleo stands out. ") and "left side" in line for line in lines)
    assert not any(line.startswith("Anna stands out") for line in lines)


def test_a_run_that_reads_an_export_reports_who_made_it(rows: Path, tmp_path: Path, truing: Command) -> None:
    out, run = tmp_path / "labels.jsonl", tmp_path / "run"
    said = truing("label", rows, "--export", out)
    assert "labels.quality.json" in said.out
    quality = written(tmp_path / "labels.quality.json")
    assert [one.name for one in quality.people] == ["labeller 1", "labeller 2", "labeller 3"], "no names"
    assert [bool(one.findings) for one in quality.people] == [False, False, True]
    recipe = rows.parent / "recipe.yaml"
    said = truing("run", recipe, "--out", run, "--set", f"data.preferences.path={out}")
    assert said.code == 0, said
    kept = json.loads((run / "labels.json").read_text(encoding="utf-8"))["data.preferences"]
    assert (kept["rows_sha256"], from_json(kept)) == (sha256_file(out), quality)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Labels: data.preferences" in page
    assert "labeller 3: They prefer the left side" in page


def test_rows_that_changed_since_are_not_described_by_old_figures(rows: Path, tmp_path: Path, truing: Command) -> None:
    out, run = tmp_path / "labels.jsonl", tmp_path / "run"
    truing("label", rows, "--export", out)
    out.write_text("\n".join(out.read_text(encoding="utf-8").splitlines()[1:]) + "\n", encoding="utf-8")
    said = truing("run", rows.parent / "recipe.yaml", "--out", run, "--set", f"data.preferences.path={out}")
    assert said.code == 0, said
    assert "labels.quality.json is of other rows" in said.out + said.err
    assert not (run / "labels.json").exists()
    assert "Labels: data.preferences" not in (run / "report.html").read_text(encoding="utf-8")


def test_who_is_forgotten_may_still_be_in_what_was_exported(rows: Path, tmp_path: Path, truing: Command) -> None:
    out, votes, gone = (tmp_path / name for name in ("labels.jsonl", "votes.jsonl", "gone.jsonl"))
    truing("label", rows, "--export", out, "--export-votes", votes)
    truing("label", rows, "--export", gone)
    gone.unlink()
    said = truing("label", rows, "--forget", "Cleo").out
    assert f"may still be in {out}, {votes}:" in said
    truing("label", rows, "--export", out)
    assert [one.name for one in written(tmp_path / "labels.quality.json").people] == ["labeller 1", "labeller 2"]


def test_without_the_package_it_says_what_to_install(
    rows: Path, truing: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "krippendorff", None)
    monkeypatch.delitem(sys.modules, "truing.labelling.quality", raising=False)
    said = truing("label", rows, "--quality")
    assert (said.code, said.spots[0][0]) == (2, "input/no-krippendorff")
    assert "truing[label]" in said.err
    assert truing("label", rows, "--forget", "Anna").code == 0
