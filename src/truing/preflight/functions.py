"""A recipe's rewards and judges in Python, begun as a run will begin them."""

from truing.config.recipe import Recipe
from truing.preflight.findings import Findings
from truing.preflight.model_directories import rewards_and_judges
from truing.rewards.python_function import FunctionReward


def check_functions(recipe: Recipe, found: Findings) -> None:
    """Adds those that cannot be imported to what was `found`; each is imported in a process of its own."""
    known = [problem.where for problem in found.problems]
    for (kind, path), key in rewards_and_judges(recipe).items():
        if kind == "function" and f"{key}: {path}" not in known:
            with found.noting():
                FunctionReward.load(path, recipe).end()
