from collections.abc import Callable
from pathlib import Path

import pytest

from truing.config import load_recipe
from truing.config.recipe import Recipe
from truing.core.errors import RecipeError

Load = Callable[..., Recipe]
Complaints = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The recipe of a text and overrides."""

    def loaded(text: str | bytes, *overrides: str) -> Recipe:
        path = tmp_path / "r.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_recipe(path, overrides)

    return loaded


@pytest.fixture
def complaints(tmp_path: Path, load: Load) -> Complaints:
    """The mistakes told of a text and overrides, one a line, files by their bare name."""

    def told(text: str | bytes, *overrides: str) -> list[str]:
        with pytest.raises(RecipeError) as caught:
            load(text, *overrides)
        first, *more = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
        assert not more or first == f"r.yaml: {len(more)} mistakes."
        return [line.strip() for line in more] or [first]

    return told
