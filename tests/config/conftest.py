from collections.abc import Callable
from pathlib import Path

import pytest

from truing.config import load_recipe
from truing.config.recipe import Recipe
from truing.core.errors import Problem, RecipeError

Load = Callable[..., Recipe]


@pytest.fixture
def notes() -> list[str]:
    """What was noted of keys that have moved, as recipes were loaded."""
    return []


@pytest.fixture
def load(tmp_path: Path, notes: list[str]) -> Load:
    """The recipe of a text and overrides."""

    def loaded(text: str | bytes, *overrides: str) -> Recipe:
        path = tmp_path / "r.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_recipe(path, overrides, notes.append)

    return loaded


@pytest.fixture
def problems(tmp_path: Path, load: Load) -> Callable[..., list[Problem]]:
    """Those of a text and overrides."""

    def found(text: str | bytes, *overrides: str) -> list[Problem]:
        with pytest.raises(RecipeError) as caught:
            load(text, *overrides)
        return list(caught.value.problems)

    return found


@pytest.fixture
def spots(tmp_path: Path, problems: Callable[..., list[Problem]]) -> Callable[..., list[tuple[object, ...]]]:
    """Code, field and place of each, the file by its bare name."""

    def found(text: str | bytes, *overrides: str) -> list[tuple[object, ...]]:
        return [
            (problem.code.removeprefix("recipe/"), problem.field, (problem.where or "").replace(f"{tmp_path}/", ""))
            for problem in problems(text, *overrides)
        ]

    return found


@pytest.fixture
def sentences(tmp_path: Path, problems: Callable[..., list[Problem]]) -> Callable[..., list[str]]:
    """Each as a person reads it, the file by its bare name."""
    return lambda *given: [str(problem).replace(f"{tmp_path}/", "") for problem in problems(*given)]
