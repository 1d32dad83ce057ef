"""truing round."""

import sys
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from truing.cli.label import give_links, listen_at
from truing.cli.options import Guidelines, Labellers, Leads, Overrides, Port, Url
from truing.cli.output import patient_console, say
from truing.core.errors import InputError, RecipeError

if TYPE_CHECKING:
    from truing.config.recipe import Recipe
    from truing.labelling.serving import Address
    from truing.labelling.store import Store
    from truing.rounds.figures import Outcome
    from truing.rounds.loop import Collect
    from truing.runs.interruption import Interruption

SHOWN = "rounds"
"""The shipped recipe that is taken where people are simulated and none is named"""
SEED = 0
"""Of simulated people"""
Simulated = Annotated[bool, typer.Option("--simulated", help="Simulated people judge, on the embedded world.")]


@dataclass(frozen=True)
class _Page:
    """Where people judge."""

    people: list[str]
    leads: list[str]
    port: int
    url: str | None
    guidelines: str
    """Markdown"""

    def listen(self) -> "Address":
        """On this machine alone, whatever address others open."""
        return listen_at("127.0.0.1", self.port, self.url, has_people=True, command="truing round")


def round_command(
    recipe: Annotated[
        Path | None,
        typer.Argument(metavar="[RECIPE]", help="A recipe that makes a policy; with --simulated, rounds."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How many, those that are done included.")] = 4,
    labels_per_round: Annotated[int, typer.Option(min=1, help="Pairs of answers that people judge in each.")] = 100,
    patience: Annotated[int, typer.Option(min=1, help="Ends after so many rounds in a row that gain nothing.")] = 2,
    random_share: Annotated[
        float, typer.Option(min=0, max=1, help="Of the pairs: drawn at random, not because they teach most.")
    ] = 0.2,
    judgements: Annotated[
        int, typer.Option(min=2, help="Without a judge in the recipe: pairs that say what a round gained.")
    ] = 50,
    each: Annotated[int, typer.Option(min=1, help="People who judge each pair.")] = 1,
    person: Labellers = None,
    lead: Leads = None,
    guidelines: Guidelines = None,
    port: Port = 8420,
    url: Url = None,
    simulated: Simulated = False,
    set_: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the rounds; without it, runs/NAME-rounds.")] = None,
) -> None:
    """Have people judge answers, learn from all that they said, and judge the answers of what was learnt, again."""
    from truing.cli.recipe_file import python_beside
    from truing.cli.shelf import recipe_path
    from truing.labelling.collection import read_guidelines
    from truing.rounds.directory import RoundsDirectory, Settings, refuse_others, refuse_unsuitable
    from truing.runs.directory import RunDirectory
    from truing.runs.files import disk_faults
    from truing.runs.interruption import stop_on_signals
    from truing.runs.lock import locked
    from truing.runs.progress import open_progress

    path = recipe_path(_named(recipe, simulated))
    read, root = _recipe(path, set_ or [], out)
    refuse_unsuitable(read)
    settings, directory = Settings(labels_per_round, random_share, judgements, each, simulated), RoundsDirectory(root)
    refuse_others(directory, read, settings)
    page = _Page(person or [], lead or [], port, url, read_guidelines(guidelines))
    if simulated:
        _refuse_elsewhere(read)
    else:
        page.listen().listening.close()  # else refused after hours
    console = patient_console()
    progress = open_progress(console)
    with disk_faults(root, "cannot be used"):
        root.mkdir(parents=True, exist_ok=True)
    with locked(RunDirectory(root).lock), python_beside(path), stop_on_signals(progress.note) as stop:
        from truing.rounds.loop import run_rounds  # imports torch, so only once the recipe is sound

        collect: Collect = _simulate if simulated else partial(_serve, page, stop)
        outcome = run_rounds(directory, read, settings, rounds, patience, collect, progress, stop)
    from truing.rounds.words import sentences

    console.print(_table(outcome))
    for sentence in [*sentences(outcome), f"page: {directory.page}"]:
        console.print(sentence, soft_wrap=True)


def _named(recipe: Path | None, simulated: bool) -> Path:
    if recipe is not None:
        return recipe
    if simulated:
        return Path(SHOWN)
    hint = "Name a recipe; `truing round --simulated` shows rounds on the embedded world without one."
    raise RecipeError("rounds of what? No recipe is named.", code="recipe/none-named", where="truing round", hint=hint)


def _refuse_elsewhere(recipe: "Recipe") -> None:
    """InputError where nobody can be simulated."""
    if recipe.world is None:
        what = "simulated people know what is good on the embedded world alone, and this recipe is not on it."
        hint = "Leave --simulated out to have people judge, or the recipe to see it on the embedded world."
        raise InputError(what, code="input/simulated-elsewhere", where="--simulated", hint=hint)


def _recipe(path: Path, overrides: list[str], out: Path | None) -> "tuple[Recipe, Path]":
    """The recipe and the directory of its rounds. It need not name preferences, which people are going to make."""
    from truing.cli.recipe_file import named_recipe
    from truing.config import read_recipe
    from truing.rounds.directory import RoundsDirectory, unlabelled

    peeked, _ = read_recipe(path, overrides)
    root = out or Path("runs") / f"{peeked.name}-rounds"
    return named_recipe(path, [*overrides, *unlabelled(peeked, RoundsDirectory(root))]), root


def _simulate(store: "Store", _: str) -> None:
    """One honest person, with noise."""
    from truing.labelling.people import new_link, who
    from truing.labelling.simulated import AtStore, SimulatedPerson, judge_all
    from truing.worlds.reviews import gold_scores

    person = who(store.database, new_link(store.database, "simulated", "labeller"))
    assert person is not None, "the link was just made"
    judge_all(SimulatedPerson(gold_scores), AtStore(store, person.id), SEED)


def _serve(page: _Page, stop: "Interruption", store: "Store", what: str) -> None:
    """It is there until all of it is judged and the last vote can be taken back no more, or somebody ends it."""
    from truing.labelling.serving import Served
    from truing.labelling.verdicts import still_asked
    from truing.labelling.waiting import LOOK_SECONDS, UNDO_SECONDS

    asked = len(still_asked(store.database))
    if not asked:
        return
    with closing(Served(page.listen())) as served:
        give_links(store, served.address.url, page.people, page.leads)
        say(f"{what}: {asked} to judge; the rounds go on once they are. Ctrl-C ends the page.")
        sys.stdout.flush()
        served.begin(store, page.guidelines)
        quiet = 0.0
        while quiet < UNDO_SECONDS and not stop.requested:
            time.sleep(LOOK_SECONDS)
            quiet = 0.0 if still_asked(store.database) else quiet + LOOK_SECONDS


def _table(outcome: "Outcome") -> Table:
    """Without the intervals, for which a terminal is too narrow: sentences tell those of gains, and the page all."""
    from truing.rounds.words import headings, table

    shown = Table("", *(title for title, _ in headings(outcome)), box=None, pad_edge=False)
    for row in table(outcome):
        shown.add_row(row.name, *(cell.value for cell in row.cells))
    return shown
