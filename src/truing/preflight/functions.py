"""A recipe's rewards and judges in Python, begun and asked as a run will begin and ask them."""

from collections.abc import Callable

from truing.config.recipe import Recipe
from truing.core.records import Sample
from truing.data.encode import EncodedRow, Tokens
from truing.data.prepared import Prepared
from truing.preflight.findings import Findings
from truing.preflight.model_directories import rewards_and_judges
from truing.rewards.python_function import FunctionReward

CALLED_WITH = 2
"""Responses that each function is asked to score: with one, a deviation of all has no value"""


def check_functions(recipe: Recipe, found: Findings) -> None:
    """Adds those that cannot be imported to what was `found`; each is imported in a process of its own."""
    known = [problem.where for problem in found.problems]
    for (kind, path), key in rewards_and_judges(recipe).items():
        if kind == "function" and f"{key}: {path}" not in known:
            with found.noting():
                FunctionReward.load(path, recipe).end()


def call_functions(recipe: Recipe, rows: Prepared, decode: Callable[[Tokens], str]) -> None:
    """Has every reward and judge in Python score completions of the recipe's own rows, `decode` making text of tokens.

    Raises:
        RewardError: one does not, named with its file and line.
    """
    samples = [
        Sample(rows.texts[row.prompt_index], decode(said), row.prompt, said, True)
        for row in rows.rows.get("prompts", [])
        for said in _completions_of(row, rows)[:1]
    ][:CALLED_WITH]
    for kind, path in rewards_and_judges(recipe) if samples else ():
        if kind == "function":
            function = FunctionReward.load(path, recipe)
            function.score(samples)
            function.end()


def _completions_of(prompt: EncodedRow, rows: Prepared) -> list[Tokens]:
    """What the recipe's rows say to a prompt."""
    found = (row for name, some in rows.rows.items() if name != "prompts" for row in some)
    return [said for row in found if row.prompt == prompt.prompt for said in row.completions.values()]
