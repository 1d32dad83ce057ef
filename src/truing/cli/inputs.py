"""What a recipe's files hold, seen before anything is trained: the directories of its models and every row."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from truing.cli.lengths import Lengths
from truing.cli.model_directories import model_faults
from truing.data.faults import Faults
from truing.data.prompts import different_prompts, refuse_too_few
from truing.data.rows import read_demonstrations, read_preferences, read_prompts
from truing.data.split import refuse_learnt, split_by_prompt
from truing.errors import InputError, ModelError
from truing.recipe import Recipe, Source

READERS: dict[str, Callable[..., list[Any]]] = {
    "demonstrations": read_demonstrations,
    "heldout_demonstrations": read_demonstrations,
    "preferences": read_preferences,
    "heldout_preferences": read_preferences,
    "prompts": read_prompts,
}


def check_inputs(recipe: Recipe) -> None:
    """Raises:
    InputError: what is wrong with the recipe's files, all faults together.
    """
    Inputs(recipe).check()


class Inputs:
    """The files of a recipe, all of them looked at."""

    def __init__(self, recipe: Recipe, whole: bool = True) -> None:
        """Args:
        recipe: whose files they are.
        whole: whether all of it is as its author wrote it; else rows are not measured by it.
        """
        self._recipe, self._whole = recipe, whole
        self.sound: list[str] = []
        """What can be used, in words"""
        self.remarks: list[str] = []
        """What can be used and will be left out, in words"""
        self.faults: list[InputError] = [*model_faults(recipe)]
        """What is wrong"""
        self._lengths = self._measure()
        for name in READERS:
            source = getattr(recipe.data, name)
            if source is not None:
                self._look_at(name, source)
        if recipe.world is None and recipe.stages != ["sft"]:
            self._look_at_prompts()

    def check(self) -> None:
        """InputError with all faults together, if there are any."""
        if self.faults:  # some are met twice: a held-out file has its training file read again
            raise InputError("\n".join(dict.fromkeys(map(str, self.faults))))

    def _measure(self) -> Lengths | None:
        """What tells the rows' lengths, where the base can be read."""
        recipe = self._recipe
        if recipe.base is None:
            return None
        if not self._whole:
            self.remarks.append("How long the rows are is looked at once the recipe is sound.")
            return None
        try:
            return Lengths(recipe)
        except ModelError as error:
            if Path(recipe.base.path).is_dir() and not self.faults:
                self.faults.append(error)
            else:
                self.remarks.append(f"How long the rows are was not looked at: {error}")
            return None

    def _look_at(self, name: str, source: Source) -> None:
        """One file: each row, how rows are held out of it, and their lengths."""
        faults = Faults(source.path)
        before = len(self.faults)
        with self._noted():
            rows = READERS[name](source, self._recipe.data.transcripts, faults)
            with self._noted():
                faults.check()
                self._hold_out(name, rows)
            if self._lengths is not None:
                self.remarks += [f"data.{name}: {sentence}" for sentence in self._lengths.of_rows(name, rows)]
        if len(self.faults) == before:
            self.sound.append(f"data.{name}: {len(rows)} rows are sound")

    def _hold_out(self, name: str, rows: list[Any]) -> None:
        """As the stages do. DataError where rows cannot be held out, or are learnt from as well."""
        data = self._recipe.data
        if name in ("demonstrations", "preferences") and getattr(data, f"heldout_{name}") is None:
            split_by_prompt(rows, data.heldout, self._recipe.seed, name)
        learnt = name.removeprefix("heldout_")
        learnt_from = getattr(data, learnt)
        if learnt != name and learnt_from is not None:  # it is missing where the recipe itself is at fault
            refuse_learnt(rows, READERS[name](learnt_from, data.transcripts), learnt)

    def _look_at_prompts(self) -> None:
        """Whether enough of them leave room for a response; a look at their file has told what else is wrong."""
        with self._noted():
            prompts = different_prompts(self._recipe.data, Faults(""))
            count = len(prompts)
            if self._lengths is not None and prompts:
                count, left_out = self._lengths.of_prompts(prompts)
                self.remarks += [f"Prompts that ppo answers: {sentence}" for sentence in left_out]
            if not self.faults:
                refuse_too_few(count, self._recipe)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """What is raised inside is kept as a fault."""
        try:
            yield
        except InputError as error:
            self.faults.append(error)
