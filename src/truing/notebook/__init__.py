"""truing in Python, for notebooks: run a recipe, load a run. Models are loaded once they are asked for."""

from truing.notebook.loaded import Run, load
from truing.notebook.running import run

__all__ = ["Run", "load", "run"]
