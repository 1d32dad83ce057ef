"""Which guard a stage has, by its recipe."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from truing.data.encode import EncodedPrompt
from truing.evaluation.heldout import HeldoutEvaluator
from truing.guard.judges import judge_of
from truing.guard.ledger import Ledger
from truing.guard.looks import Guard, State
from truing.guard.smoke import SmokeDetectors
from truing.training.job import Job
from truing.training.journal import Journal


def open_guard(
    job: Job, updates: int, beta: float, journal: Journal, evaluator: HeldoutEvaluator, prompts: Sequence[EncodedPrompt]
) -> Guard | SmokeDetectors | None:
    """The guard of a stage of so many updates, begun at this price of a nat or taken up again; None where it is off.

    Raises:
        RewardError: the judge's function cannot be imported.
    """
    recipe, name, directory = job.recipe, job.name, job.directory
    if recipe.guard.mode == "off":
        return None
    state = TypeAdapter(State).validate_python(journal.recall("guard", {"beta": beta}))

    def say(what: str) -> None:
        job.progress.note(f"{name}: {what}")

    def answers(step: int) -> list[dict[str, Any]]:
        rows = zip(evaluator.rows[step], prompts, strict=True)
        return [row | {"columns": prompt.columns} for row, prompt in rows]

    if recipe.guard.judge.kind == "none":
        return SmokeDetectors(recipe.guard, updates, say, state)
    judge = judge_of(recipe, directory, job.llm_answers, job.people)
    saves_first = recipe.guard.judge.page is not None  # for people take hours, and a kill meanwhile is to cost nothing
    return Guard(
        recipe.guard,
        updates,
        (recipe.seed, [prompt.text for prompt in prompts]),
        Ledger(directory.judgements, judge, *([journal.keep] if saves_first else [])),
        answers,
        say,
        state,
    )
