"""Rounds, from the start or from where they were: answers, labels, a run, and what it gained.

Christiano et al. 2017 (arXiv:1706.03741) found that labels on answers of the start alone let the policy run away with
the reward, and that those on its own answers hold it. Each round learns from the labels of all rounds, and begins with
the start and not with the policy before.

Whatever is done is a file that is there in full or not at all, so that a process which is killed goes on where it was.
"""

from collections.abc import Callable
from pathlib import Path

from truing.config.plan import plan
from truing.config.recipe import Recipe
from truing.estimate.rehearsal import rehearse
from truing.labelling.export_rows import mean_votes
from truing.labelling.store import Store
from truing.labelling.waiting import people_of
from truing.pipeline.execute import run_pipeline
from truing.pipeline.opening import refuse_other_inputs
from truing.report import write_report
from truing.rounds.asking import ask, ask_what_was_gained
from truing.rounds.directory import RoundsDirectory, Settings, begin, recipe_of_round, recipe_of_start
from truing.rounds.figures import Outcome, figures_of, judge_of
from truing.rounds.labels import is_learnt, store_of, write_learnt
from truing.rounds.page import write_page
from truing.rounds.words import gain_in_words
from truing.runs.directory import RunDirectory
from truing.runs.interruption import Interruption
from truing.runs.progress import Progress

Collect = Callable[[Store, str], None]
"""Has people judge all that a store gives out, of which the text says what it is; returns when nothing is left"""


def run_rounds(
    directory: RoundsDirectory,
    recipe: Recipe,
    settings: Settings,
    rounds: int,
    patience: int,
    collect: Collect,
    progress: Progress,
    stop: Interruption,
) -> Outcome:
    """Runs what is left of so many rounds, fewer where they gain nothing any more.

    Args:
        directory: of the rounds.
        recipe: as it was given.
        settings: how people are asked.
        rounds: how many, those that are done included.
        patience: how many that gain nothing, one after the other, are enough.
        collect: has people judge.
        progress: is told how it goes.
        stop: ends it.

    Raises:
        InputError: all that is wrong with the recipe or the directory.
        InterruptedRunError: `stop` was set; what was done is saved.
        TruingError: whatever a run refuses.
    """
    recipe = begin(directory, recipe, settings)
    first = recipe_of_start(recipe)
    if first is not None:
        _run(first, directory.start, progress, stop)
    outcome: Outcome | None = None
    for number in range(1, rounds + 1):
        progress.note(f"round {number} of {rounds}")
        _learn(directory, recipe, settings, number, collect, progress, stop)
        outcome = _measured(directory, recipe, settings, number, patience, collect, stop)
        write_page(outcome, directory)
        progress.note(gain_in_words(outcome))
        if outcome.gains_nothing:
            break
    assert outcome is not None, "there is a round"
    return outcome


def _learn(
    directory: RoundsDirectory,
    recipe: Recipe,
    settings: Settings,
    number: int,
    collect: Collect,
    progress: Progress,
    stop: Interruption,
) -> None:
    """Answers, what people say of them, and a run on all labels so far."""
    if not directory.asked(number).exists():
        ask(directory, recipe, settings, number)
    if not is_learnt(directory, number, settings):
        store = store_of(directory, settings)
        _collected(store, f"round {number}: answers to learn from", collect, stop)
        write_learnt(directory, store, number, settings)
        store.database.close()
    begun_from = directory.start.root if recipe_of_start(recipe) is not None else None
    _run(recipe_of_round(directory, recipe, number), directory.run(number), progress, stop, begun_from)


def _measured(
    directory: RoundsDirectory,
    recipe: Recipe,
    settings: Settings,
    number: int,
    patience: int,
    collect: Collect,
    stop: Interruption,
) -> Outcome:
    """What the rounds gained; where no judge says that of this one, people do."""
    store = store_of(directory, settings)
    if judge_of(recipe) is None and not directory.judged(number).exists():
        before = figures_of(directory, recipe, mean_votes(store.database), number - 1, patience)
        ask_what_was_gained(directory, recipe, settings, number, before.best)
        store.database.close()
        store = store_of(directory, settings)
    if judge_of(recipe) is None:
        _collected(store, f"round {number}: what its policy gained", collect, stop)
    outcome = figures_of(directory, recipe, mean_votes(store.database), number, patience)
    store.database.close()
    return outcome


def _collected(store: Store, what: str, collect: Collect, stop: Interruption) -> None:
    collect(store, what)
    if stop.requested:
        raise stop.interrupted("every vote is kept")


def _run(
    recipe: Recipe, run: RunDirectory, progress: Progress, stop: Interruption, begun_from: Path | None = None
) -> None:
    """What is left of a run, with its report; of one that is done, whether its inputs are as they were."""
    done = {stage.name for stage in run.lineage.stages if stage.state == "done"} if run.record.exists() else set()
    if done >= {stage.name for stage in plan(recipe)} and run.report.exists():
        refuse_other_inputs(run, recipe)
        return
    with people_of(recipe, run.root, progress, stop, at_terminal=True) as people:  # where its guard asks some
        run_pipeline(recipe, run.root, progress, stop, begun_from, rehearse, people)
    write_report(run.root)
