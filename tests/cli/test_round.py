"""What `truing round` refuses, and the page that it serves."""

import socket
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import tiny
from cli.conftest import Command
from labelling.collecting import ask_all, pairs, store_of
from rounds.collecting import shorter

from truing.cli import round as round_module
from truing.config import load_recipe
from truing.config.recipe import Recipe
from truing.labelling import waiting
from truing.labelling.people import new_link
from truing.labelling.serving import Served
from truing.labelling.simulated import AtPage, SimulatedPerson, judge_all
from truing.labelling.store import Store
from truing.rounds.directory import RoundsDirectory, Settings, begin, recipe_of_round, unlabelled
from truing.runs.interruption import Interruption

Page: Any = vars(round_module)["_Page"]
PAGE = Page([], [], port=0, url=None, guidelines="")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.recipe_file(tmp_path_factory.mktemp("recipe"))


def test_rounds_of_nothing_are_refused(truing: Command) -> None:
    said = truing("round")
    assert (said.code, [code for code, _, _ in said.spots]) == (2, ["recipe/none-named"])


@pytest.mark.parametrize("option", ["--rounds", "--labels-per-round", "--patience", "--each"])
def test_none_of_what_is_counted_is_refused(truing: Command, option: str) -> None:
    said = truing("round", "--simulated", option, "0")
    assert said.code == 2
    assert option in said.err


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--set", "stages=[sft, reward]"], "recipe/no-policy-to-judge"),
        (["--set", "stages=[sft, reward, ppo, dpo]"], "recipe/several-policies"),
        (["--set", "sft.data=preferences"], "recipe/start-from-pairs"),
        (["--simulated"], "input/simulated-elsewhere"),
        (["--set", "ppo.kl.beta=-1"], "recipe/wrong-value"),
    ],
)
def test_what_rounds_cannot_be_made_of_begins_nothing(
    truing: Command, recipe: Path, tmp_path: Path, options: list[str], code: str
) -> None:
    said = truing("round", recipe, *options, "--out", tmp_path / "out")
    assert (said.code, [found for found, _, _ in said.spots]) == (2, [code])
    assert not (tmp_path / "out").exists()


def settings(labels: int = 100) -> Settings:
    return Settings(labels, random_share=0.2, judgements=50, each=1, simulated=False)


def test_rounds_that_were_begun_otherwise_are_left_as_they_are(truing: Command, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begin(RoundsDirectory(out), load_recipe(recipe), settings())
    before = {place: place.stat().st_mtime_ns for place in out.rglob("*")}
    for options in (["--labels-per-round", "50"], ["--set", "ppo.kl.beta=0.3"]):
        said = truing("round", recipe, *options, "--out", out)
        assert (said.code, [code for code, _, _ in said.spots]) == (2, ["run/other-rounds"])
        assert options[-1].rpartition("=")[2] in said.err
    assert {place: place.stat().st_mtime_ns for place in out.rglob("*")} == before


def test_a_directory_of_other_files_and_a_file_are_no_place_for_rounds(
    truing: Command, recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text("{}")
    said = truing("round", recipe, "--out", tmp_path)
    assert (said.code, [code for code, _, _ in said.spots]) == (2, ["run/no-rounds"])
    said = truing("round", recipe, "--out", tmp_path / "run.json")
    assert (said.code, [code for code, _, _ in said.spots]) == (2, ["run/no-directory"])
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_a_port_that_is_taken_is_refused_before_anything_is_trained(
    truing: Command, recipe: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = truing("round", recipe, "--port", taken.getsockname()[1], "--out", tmp_path / "out")
    assert (said.code, [code for code, _, _ in said.spots]) == (2, ["input/no-port"])
    assert not (tmp_path / "out").exists()


def test_a_recipe_need_not_name_the_labels_that_people_are_going_to_give(recipe: Path, tmp_path: Path) -> None:
    directory = RoundsDirectory(tmp_path)
    named = load_recipe(recipe)
    bare = named.model_copy(update={"data": named.data.model_copy(update={"preferences": None})})
    assert unlabelled(named, directory) == []
    assert unlabelled(bare, directory) == [f'data.preferences.path="{tmp_path}/learnt/round-1.jsonl"']
    assert _learnt_by(named, directory) == str(directory.learnt(2))


def _learnt_by(recipe: Recipe, directory: RoundsDirectory) -> str:
    begun = begin(directory, recipe, settings())
    found = recipe_of_round(directory, begun, 2).data.preferences
    assert found is not None
    return found.path


def test_the_page_is_there_until_all_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path, pairs(6))
    labellers: list[Thread] = []

    def linked(store: Store, url: str, people: list[str], leads: list[str]) -> None:
        link = f"{url}/?t={new_link(store.database, 'Anna', 'labeller')}"
        labeller = Thread(target=judge_all, args=(SimulatedPerson(shorter), AtPage(link), 0))
        labellers.append(labeller)
        labeller.start()

    monkeypatch.setattr(round_module, "give_links", linked)
    monkeypatch.setattr(waiting, "UNDO_SECONDS", 0.5)
    serve: Any = vars(round_module)["_serve"]
    serve(PAGE, Interruption(), store, "round 1")
    labellers[0].join()
    assert len(ask_all(store, "SELECT * FROM standing")) == 6
    serve(PAGE, Interruption(), store, "round 1")  # nothing is left, so nothing is served
    assert len(labellers) == 1


def test_the_page_shows_the_guidelines_and_is_opened_where_a_proxy_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path, pairs(2))
    begun: list[tuple[str, str]] = []
    monkeypatch.setattr(Served, "begin", lambda served, _, guidelines: begun.append((served.address.url, guidelines)))
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.0)
    page = Page(["Anna"], [], port=0, url="https://labels.example.org", guidelines="# Be brief")
    stop = Interruption()
    monkeypatch.setattr("time.sleep", lambda _: setattr(stop, "signal_number", 2))
    vars(round_module)["_serve"](page, stop, store, "round 1")
    assert begun == [("https://labels.example.org", "# Be brief")]


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [("--guidelines", "nowhere.md", "data/no-guidelines"), ("--url", "labels.example.org", "input/bad-url")],
)
def test_a_page_that_cannot_be_shown_so_is_refused_before_anything_is_trained(
    truing: Command, recipe: Path, tmp_path: Path, option: str, value: str, code: str
) -> None:
    said = truing("round", recipe, option, value, "--port", "0", "--out", tmp_path / "out")
    assert (said.code, [found for found, _, _ in said.spots]) == (2, [code])
    assert not (tmp_path / "out").exists()


def test_the_page_ends_where_somebody_ends_it(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(6))
    serve: Any = vars(round_module)["_serve"]
    serve(PAGE, Interruption(signal_number=2), store, "round 1")
    assert ask_all(store, "SELECT * FROM standing") == []
