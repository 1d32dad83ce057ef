"""The errors a person meets, each saying what is wrong, where, and how to hint it.

::

    TruingError                      exit code 1
    ├── InputError                   exit code 2: something the user gave is wrong
    │   ├── RecipeError              the recipe or a --set override
    │   ├── DataError                a data file or a row in it
    │   ├── ModelError               a base model, adapter or tokenizer
    │   ├── RewardError              a reward source or judge and what it returned
    │   └── RunError                 the run directory
    ├── TrainingError                learning cannot go on: a number is not finite, or memory ran out
    └── InterruptedRunError          exit code 130 or 143: a signal asked the run to end, and it is saved
"""

from collections.abc import Sequence


class TruingError(Exception):
    """The root: what went wrong, where it was seen, and the hint, as one paragraph."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{place}{self.what}{hint}"


class InputError(TruingError):
    """Something the user gave is wrong; nothing was written over."""

    exit_code = 2


class RecipeError(InputError):
    """A mistake in a recipe or an override."""


class DataError(InputError):
    """A data file that cannot be read, or a row that cannot be used."""


class ModelError(InputError):
    """A model, adapter or tokenizer that cannot be used."""


class RewardError(InputError):
    """A reward source or judge that cannot be used, or that returned what is not a score."""


class RunError(InputError):
    """A run directory that cannot be used as asked."""


class TrainingError(TruingError):
    """Learning cannot go on: it produced a number that is not finite, or memory ran out."""


class InterruptedRunError(TruingError):
    """A signal asked the run to end; what was done is saved."""

    def __init__(self, what: str, exit_code: int) -> None:
        super().__init__(what)
        self.exit_code = exit_code


def together(errors: Sequence[InputError]) -> InputError:
    """One error that tells all of these, each text once."""
    if len(errors) == 1:
        return errors[0]
    return InputError("\n".join(dict.fromkeys(map(str, errors))))


def first_line(error: BaseException) -> str:
    """The first line of another library's complaint: 200 characters at most, and all can be printed."""
    lines = str(error).strip().splitlines() or [""]
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in lines[0][:200])
    return shown[:200].rstrip(".") or type(error).__name__
