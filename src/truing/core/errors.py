"""The errors a person meets: each is a `Problem`, data for programs and a sentence for people, or several of them.

::

    TruingError                      exit code 1
    ├── InputError                   exit code 2: something the user gave is wrong
    │   ├── RecipeError              the recipe or a --set override
    │   ├── DataError                a data file or a row in it
    │   ├── ModelError               a base model, adapter or tokenizer
    │   ├── RewardError              a reward source or judge and what it returned
    │   ├── EngineError              a server that samples and what it answered
    │   └── RunError                 the run directory
    ├── TrainingError                learning cannot go on: a number is not finite, or memory ran out
    ├── ProcessesError               the processes of a run do not reach each other
    ├── WaitingError                 exit code 75: people have to answer first; all is saved
    └── InterruptedRunError          exit code 128 + the signal's number: it asked the run to end, and all is saved
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from truing.core.text import in_one_line


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    code: str
    """For programs, in kebab-case behind its subject: `recipe/unknown-key`"""
    field: str | None
    """A dotted key of the recipe, or a field of a row"""
    what: str
    """For people; it names the field where `where` does not"""
    hint: str | None = None
    """How to put it right"""
    where: str | None = None
    """A file, perhaps with its line, an argument of the command line, or a step of a stage"""
    parts: tuple["Problem", ...] = ()
    """The problems that this one sums up"""

    def __str__(self) -> str:
        """A paragraph; a sum has a line for each of its parts, below a heading where it has one."""
        place = f"{in_one_line(self.where)}:" if self.where else None
        heading = " ".join(filter(None, (place, self.what, self.hint)))
        return "\n  ".join([heading, *map(str, self.parts)]) if heading else "\n".join(map(str, self.parts))

    def single(self) -> Iterator["Problem"]:
        """Itself, or those that it sums up, which may be sums too."""
        for part in self.parts:
            yield from part.single()
        if not self.parts:
            yield self


class TruingError(Exception):
    """The root. Its text is that of its problem."""

    exit_code = 1
    code = "truing"
    """Of a problem whose raiser gives none"""

    def __init__(
        self,
        what: str,
        *,
        code: str | None = None,
        where: str | None = None,
        field: str | None = None,
        hint: str | None = None,
        parts: Iterable[Problem] = (),
    ) -> None:
        self.problem = Problem(code or self.code, field, what, hint, where, tuple(parts))
        self.code = self.problem.code
        self.what = what
        self.where = where
        self.field = field
        self.hint = hint
        super().__init__(what)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every single problem that it tells of."""
        return tuple(self.problem.single())

    def __str__(self) -> str:
        return str(self.problem)


class InputError(TruingError):
    """Something the user gave is wrong; nothing was written over."""

    exit_code = 2
    code = "input"


class RecipeError(InputError):
    """A recipe or an override that cannot be used."""

    code = "recipe"


class DataError(InputError):
    """A data file that cannot be read, or a row that cannot be used."""

    code = "data"


class ModelError(InputError):
    """A model, adapter or tokenizer that cannot be used."""

    code = "model"


class RewardError(InputError):
    """A reward source or judge that cannot be used, or that returned what is not a score."""

    code = "rewards"


class EngineError(InputError):
    """A server that samples which cannot be used, or whose answers cannot be learnt from."""

    code = "engine"


class RunError(InputError):
    """A run directory that cannot be used as asked."""

    code = "run"


class TrainingError(TruingError):
    """Learning cannot go on: it produced a number that is not finite, or memory ran out."""

    code = "training"


class ProcessesError(TruingError):
    """The processes of a run do not reach each other."""

    code = "processes"


class WaitingError(TruingError):
    """The run cannot go on before people have judged; what was done is saved."""

    code = "guard"
    exit_code = 75
    """What sendmail calls a failure for the time being (EX_TEMPFAIL)"""


class InterruptedRunError(TruingError):
    """A signal asked the run to end; what was done is saved."""

    code = "run/interrupted"

    def __init__(self, what: str, exit_code: int) -> None:
        super().__init__(what)
        self.exit_code = exit_code


@dataclass
class Problems:
    """The problems of one file, gathered so that a person puts them right once and not one by one."""

    where: str
    most: int | None = 20
    """How many are described; the others are counted. All of them for None"""
    described: list[Problem] = field(default_factory=list)
    count: int = 0
    _kinds: list[str | None] = field(default_factory=list)
    """Of each that is described, what makes others alike"""
    _rows: dict[str, int] = field(default_factory=dict)

    def add(self, problem: Problem, alike: str | None = None) -> None:
        """Notes a problem; whether to go on is the caller's decision.

        Of rows whose problem is `alike`, the first is described with how many there are; they count as one.
        """
        if alike is not None:
            self._rows[alike] = self._rows.get(alike, 0) + 1
            if self._rows[alike] > 1:
                return
        self.count += 1
        if self.most is None or len(self.described) < self.most:
            self.described.append(problem)
            self._kinds.append(alike)

    def check(self, error: type[InputError], more: str | None = None) -> None:
        """Raises one `error` with all of them, if there are any; `more` says where to see those that are counted."""
        if not self.count:
            return
        told = [
            _of_rows(problem, self._rows.get(kind or "", 1))
            for problem, kind in zip(self.described, self._kinds, strict=True)
        ]
        if self.count == 1:
            raise error(**vars(told[0]))
        rest = self.count - len(told)
        counted = [Problem(f"{error.code}/more", None, f"... and {rest} more.", more)] if rest else []
        raise error(f"{self.count} problems.", where=self.where, parts=[*told, *counted])


def _of_rows(problem: Problem, rows: int) -> Problem:
    return problem if rows == 1 else replace(problem, what=f"{problem.what.rstrip('.')}; {rows} rows are so.")


def once_each(problems: Iterable[Problem]) -> list[Problem]:
    """Those that say the same of several places as one: the first, with how many there are."""
    kinds: dict[Problem, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(replace(problem, where=None), []).append(problem)
    return [_of_rows(same[0], len(same)) for same in kinds.values()]


def check(problems: Iterable[Problem]) -> None:
    """Raises one InputError with these problems, each once, if there are any."""
    found = list(dict.fromkeys(problems))
    if len(found) == 1:
        raise InputError(**vars(found[0]))
    if found:
        raise InputError("", code="input/several", parts=found)


def first_line(error: BaseException) -> str:
    """The first line of another library's complaint: 200 characters at most, and all can be printed."""
    said = f"KeyError: {error}" if isinstance(error, KeyError) else str(error)  # else it is the key alone
    lines = said.strip().splitlines() or [""]
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in lines[0][:200])
    return shown[:200].rstrip(".") or type(error).__name__
