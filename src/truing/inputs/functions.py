"""A recipe's rewards and judges in Python, begun as a run will begin them."""

from truing.inputs.findings import Findings
from truing.inputs.model_directories import rewards_and_judges
from truing.models.functions import FunctionReward
from truing.recipe import Recipe


def look_at_functions(recipe: Recipe, found: Findings) -> None:
    """Adds those that cannot be imported to what was `found`; each is imported in a process of its own."""
    told = [fault.where or "" for fault in found.faults]
    for (kind, path), key in rewards_and_judges(recipe).items():
        if kind == "function" and f"{key}: {path}" not in told:
            with found.noting():
                FunctionReward.load(path, recipe).end()
