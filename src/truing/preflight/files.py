"""The files of a recipe: the directories of its models, and every row by itself."""

from collections.abc import Mapping

from truing.config import reward_sources
from truing.config.recipe import Recipe
from truing.data.datasets import Dataset
from truing.preflight.findings import Findings
from truing.preflight.model_directories import model_problems


def check_files(recipe: Recipe, datasets: Mapping[str, Dataset]) -> Findings:
    """All of them, whatever its stages do with them; the rows are those that were read of the recipe's data."""
    found = Findings(problems=[*model_problems(recipe)])
    paths = {source.path for _, source in reward_sources(recipe) if source.kind == "function"}
    for name in (name for name, path in recipe.evaluation.judges.items() if path in paths):
        found.odd.append(f"evaluation.judges.{name} is a source of reward too, so what training learns rises in it.")
    for name, dataset in datasets.items():
        if getattr(recipe.data, name) is None:
            continue  # prompts of other rows, whose problems are told with these
        with found.noting():
            dataset.check()
            count = len(dataset.records)
            found.sound.append(f"data.{name}: {count} {'row is' if count == 1 else 'rows are'} sound")
        found.odd += [f"data.{name}: {sentence}" for sentence in dataset.oddities]
    return found
