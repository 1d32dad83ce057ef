"""The movies example, offline, on a small archive of the same shape."""

import hashlib
import importlib
import io
import itertools
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from types import ModuleType

import pytest
from report.example_run import CARD, PROMPTS, write_run

from truing.config import load_recipe
from truing.core.errors import DataError

EXAMPLE = Path(__file__).parents[2] / "examples" / "movies"


@pytest.fixture(autouse=True)
def _example_on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield
    for script in EXAMPLE.glob("*.py"):  # their names are plain; leave them to other tests
        sys.modules.pop(script.stem, None)


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def rating_of(number: int) -> list[int]:
    return [(number * 7 + rater) % 9 - 4 if rater % 3 else (number * 5) % 9 - 4 for rater in range(15)]


def archive(path: Path, count: int = 120, ratings: str | None = None) -> Path:
    """A source distribution as the real one: a tar in a tar, with published means (9.9) that are wrong."""
    texts = "".join(f"{i}\t9.9\tFilm {i} has one''s heart    and it is worth {i * 3} tears .\n" for i in range(count))
    if ratings is None:
        ratings = "".join(f"{i}\t9.9\t0.5\t{rating_of(i)}\n" for i in range(count))
    material = module("material")
    inner = tar_of({material.TEXTS_MEMBER: texts.encode(), material.RATINGS_MEMBER: ratings.encode()})
    path.write_bytes(tar_of({material.INNER_TAR: inner, "../outside.txt": b"escaped"}))
    return path


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_ratings_are_the_raw_ones_and_texts_are_tidied(tmp_path: Path) -> None:
    sdist = archive(tmp_path / "sdist.tar.gz")
    snippets = module("snippets").parse_snippets(*module("material").read_ratings(sdist))
    assert [snippet.rating for snippet in snippets] == [fmean(rating_of(i)) for i in range(120)]
    assert snippets[4].text == 'Film 4 has one"s heart - and it is worth 12 tears.'
    assert list(tmp_path.rglob("*")) == [sdist], "reading the archive must write nothing"
    assert not (tmp_path.parent / "outside.txt").exists()


@pytest.mark.parametrize("listed", ["[1, 2]", "no list", str([5] * 15), str([1.5] * 15)])
def test_a_line_of_ratings_that_is_not_one_is_named(tmp_path: Path, listed: str) -> None:
    good = f"0\t9.9\t0.5\t{[1] * 15}\n"
    sdist = archive(tmp_path / "sdist.tar.gz", count=2, ratings=f"{good}1\t9.9\t0.5\t{listed}\n")
    with pytest.raises(DataError, match=r"^ratings:2: expected"):
        module("snippets").parse_snippets(*module("material").read_ratings(sdist))


def test_a_file_with_another_hash_is_refused(tmp_path: Path) -> None:
    material = module("material")
    sdist = archive(tmp_path / material.RATINGS.filename)
    with pytest.raises(DataError, match=hashlib.sha256(sdist.read_bytes()).hexdigest()):
        material.fetch(material.RATINGS, tmp_path)


def made_rows(tmp_path: Path, seed: int = 17) -> dict[str, list[dict[str, str | float]]]:
    rows = module("rows")
    snippets = module("snippets").parse_snippets(*module("material").read_ratings(archive(tmp_path / "sdist.tar.gz")))
    sizes = rows.Sizes(preferences=20, heldout_preferences=10, demonstrations=25, prompts=20)
    made: dict[str, list[dict[str, str | float]]] = rows.make_rows(snippets, sizes, seed)
    return made


def test_no_snippet_serves_twice(tmp_path: Path) -> None:
    made = made_rows(tmp_path)
    pairs = made["preferences"] + made["heldout_preferences"]
    whole = [f"{row['prompt']}{row[side]}" for row in pairs for side in ("chosen", "rejected")]
    whole += [f"{row['prompt']}{row['completion']}" for row in made["demonstrations"]]
    assert {name: len(rows) for name, rows in made.items()} == {
        "preferences": 20, "heldout_preferences": 10, "demonstrations": 25, "prompts": 20,
    }  # fmt: skip
    assert len(set(whole)) == len(whole) == 85
    assert not any(text.startswith(f"{row['prompt']} ") for text in whole for row in made["prompts"])
    assert all(text.startswith("Review: Film ") and text.endswith(" tears.") for text in whole)


def test_the_chosen_side_was_rated_higher_by_at_least_one(tmp_path: Path) -> None:
    made = made_rows(tmp_path)
    for row in made["preferences"] + made["heldout_preferences"]:
        chosen, rejected = (fmean(rating_of(int(str(row[side]).split()[1]))) for side in ("chosen", "rejected"))
        assert chosen - rejected >= 1
        assert row["margin"] == pytest.approx(chosen - rejected, abs=1e-4)


def test_rows_depend_on_the_seed_alone(tmp_path: Path) -> None:
    assert made_rows(tmp_path) == made_rows(tmp_path)
    assert made_rows(tmp_path)["preferences"] != made_rows(tmp_path, seed=18)["preferences"]


def test_too_few_snippets_are_refused(tmp_path: Path) -> None:
    rows, snippets = module("rows"), [module("snippets").Snippet(str(i), "a b c d e f", 4.0 * i) for i in range(2)]
    with pytest.raises(DataError, match="preferences: 2 snippets give"):
        rows.make_rows(snippets, rows.Sizes(), 1)


def test_tfidf_learns_what_decides_and_a_tie_counts_half() -> None:
    pytest.importorskip("sklearn")
    baselines = module("baselines")
    words = ["plot", "cast", "score", "pace", "light"]
    pairs = [
        {"prompt": "Review:", "chosen": f" a {good} {one} indeed", "rejected": f" a {bad} {two} for all"}
        for one, two in itertools.product(words, words)
        for good, bad in [("fine", "poor"), ("warm", "cold")]
    ]
    assert baselines.accuracy(baselines.tfidf_margins(pairs[::2], pairs[1::2]))["accuracy"] == 1.0
    figures = baselines.accuracy(baselines.np.array([1.0, 2.0, 0.0, 0.0, -1.0, -1.0, -1.0, -1.0]))
    assert (figures["accuracy"], figures["ties"], figures["pairs"]) == (3 / 8, 2, 8)


@pytest.mark.parametrize("name", ["vader", "afinn"])
def test_judges_read_opening_and_response(name: str) -> None:
    pytest.importorskip({"vader": "vaderSentiment"}.get(name, name))
    judge = getattr(module("judges"), name)
    scores = judge(["Review: A terrible", "Review: A great", "Review: A great"], [" bore.", " joy.", " bore."])
    assert [type(score) for score in scores] == [float] * 3
    assert scores[0] < 0 < scores[1] > scores[2]
    with pytest.raises(ValueError, match="shorter"):
        judge(["Review:"], [])


def test_the_recipe_is_valid_and_carries_the_cache_path(tmp_path: Path) -> None:
    cache = tmp_path / 'a "strange" name: #1'
    cache.mkdir()
    written = module("prepare").write_recipe(cache)
    recipe = load_recipe(written, [])
    assert recipe.base is not None
    assert recipe.base.path == str(cache / "base")
    assert json.dumps(str(cache))[1:-1] in written.read_text()
    assert {source.path for source in (recipe.data.demonstrations, recipe.data.prompts) if source} == {
        str(cache / "demonstrations.jsonl"), str(cache / "prompts.jsonl"),
    }  # fmt: skip


def test_the_tables_of_the_page_hold_what_the_run_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", ["sft", "reward", "ppo"])
    rules = {"longer_wins": {"accuracy": 0.479, "ci95": [0.366, 0.594]}}
    (tmp_path / "baselines.json").write_text(json.dumps(rules))
    module("results").main(run, tmp_path)
    told = capsys.readouterr().out
    result = json.loads((run / "ppo" / "result.json").read_text())
    low, high = CARD["heldout_accuracy_ci95"]
    assert f"| **the reward model** | **{CARD['heldout_accuracy']:.3f} [{low:.3f}, {high:.3f}]** |" in told
    assert "| longer_wins | 0.479 [0.366, 0.594] |" in told
    assert f" → {result['judges']['gold']['last']:.3f} [" in told
    for prompt in PROMPTS:
        assert f"| {prompt} | arrived late . | is lovely and sturdy . |" in told
    assert told.count("| 12 |") == 3  # seconds of each stage
