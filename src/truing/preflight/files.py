"""The files of a recipe: the directories of its models, and every row by itself."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from truing.config import reward_sources
from truing.config.recipe import Recipe
from truing.data.datasets import Dataset
from truing.preflight.findings import Findings
from truing.preflight.model_directories import model_problems


def check_files(recipe: Recipe, datasets: Mapping[str, Dataset]) -> Findings:
    """All of them, whatever its stages do with them; the rows are those that were read of the recipe's data."""
    found = Findings(problems=[*model_problems(recipe)])
    paths = {source.path for _, source in reward_sources(recipe) if source.kind in ("function", "judge")}
    for name in (name for name, path in recipe.evaluation.judges.items() if path in paths):
        found.odd.append(f"evaluation.judges.{name} is a source of reward too, so what training learns rises in it.")
    found.odd += keys_in_the_clear(recipe)
    for name, dataset in datasets.items():
        if getattr(recipe.data, name) is None:
            continue  # prompts of other rows, whose problems are told with these
        with found.noting():
            dataset.check()
            count = len(dataset.records)
            found.sound.append(f"data.{name}: {count} {'row is' if count == 1 else 'rows are'} sound")
        found.odd += [f"data.{name}: {sentence}" for sentence in dataset.oddities]
    return found


def keys_in_the_clear(recipe: Recipe) -> list[str]:
    """A sentence for each LLM judge on another machine whose key is sent without encryption."""
    return [
        f"llm_judges.{name}: the key in {judge.key_variable} goes to {judge.base_url} without encryption; use https."
        for name, judge in recipe.llm_judges.items()
        if judge.key_variable and urlsplit(judge.base_url).scheme == "http" and not _is_here(judge.base_url)
    ]


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
