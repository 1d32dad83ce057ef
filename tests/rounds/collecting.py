"""People who judge in the process of a test."""

from collections.abc import Callable, Sequence
from pathlib import Path

from labelling.collecting import person

from truing.config.recipe import Recipe
from truing.labelling.simulated import AtStore, Gold, SimulatedPerson, judge_all
from truing.labelling.store import Store
from truing.rounds.directory import RoundsDirectory, Settings
from truing.rounds.figures import Outcome
from truing.rounds.loop import run_rounds
from truing.runs.interruption import Interruption
from truing.runs.progress import SilentProgress


def settings(labels: int = 12, simulated: bool = True, judgements: int = 4) -> Settings:
    return Settings(labels, random_share=0.25, judgements=judgements, each=1, simulated=simulated)


def judged_by(gold: Gold) -> Callable[[Store, str], None]:
    """One who makes no mistakes."""

    def collect(store: Store, _: str) -> None:
        judge_all(SimulatedPerson(gold, temperature=1e-9), AtStore(store, person(store, "Anna")), seed=0)

    return collect


def shorter(prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
    """What people like who want it short; of as long ones, that whose letters come first."""
    return [-len(answer) - 1e-6 * sum(map(ord, answer)) for answer in answers]


def rounds_of(
    recipe: Recipe, out: Path, collect: Callable[[Store, str], None], rounds: int = 2, labels: int = 12, **more: int
) -> Outcome:
    """Rounds in this process."""
    asked = settings(labels, simulated=recipe.world is not None)
    patience = more.get("patience", rounds + 1)
    progress, stop = SilentProgress(), Interruption()
    return run_rounds(RoundsDirectory(out), recipe, asked, rounds, patience, collect, progress, stop)
