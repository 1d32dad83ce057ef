"""Every judgement that a stage was given, kept beside its logs: none is asked for twice, and none is lost."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from truing.core.errors import Problem, RunError, WaitingError
from truing.guard.contests import Question
from truing.guard.judges import Judge
from truing.processes import group
from truing.runs.files import disk_faults, write_text


class Ledger:
    """Judgements by question. A stage that is killed, or goes back, and asks the same again has them at once.

    So a judge that would answer otherwise the second time, as people and language models do, changes nothing of what a
    run that is taken up comes to.
    """

    def __init__(self, path: Path, judge: Judge, before_asking: Callable[[], None] = lambda: None) -> None:
        """Args:
        path: of the file, a line a judgement.
        judge: who is asked what is not in it.
        before_asking: what every process does before the judge is asked, who may take long to answer.
        """
        self._path = path
        self._judge = judge
        self._before_asking = before_asking

    def outcomes(self, look: int, questions: Sequence[Question]) -> dict[str, float]:
        """By id, of each question that was judged: 1 where the newer answer won, 0 where it lost, ½ for alike.

        Raises:
            WaitingError: people have not answered all of them yet.
            RewardError, DataError: as the judge raises them.
            RunError: the file cannot be read or written.
        """
        if group.broadcast(lambda: bool(self._left(questions))):
            self._before_asking()
        known = group.broadcast(lambda: self._judged_or_waiting(look, questions))
        if isinstance(known, Problem):  # known to all processes before one of them leaves, so that all can save
            raise WaitingError(**vars(known))
        judged = [(one, known[one.id]) for one in questions]
        return {one.id: one.outcome(first_wins) for one, first_wins in judged if first_wins is not None}

    def _judged_or_waiting(self, look: int, questions: Sequence[Question]) -> dict[str, float | None] | Problem:
        try:
            return self._judged(look, questions)
        except WaitingError as waiting:
            return waiting.problem

    def _judged(self, look: int, questions: Sequence[Question]) -> dict[str, float | None]:
        """By id; None is what was asked and not judged, which is not asked again either."""
        left = self._left(questions)
        given = self._judge.judge(look, left) if left else {}
        rows = [_line(look, one, given.get(one.id)) for one in left]
        if rows:
            self._append(rows)
        return {name: share for name, (share, _) in self._read().items()}

    def _left(self, questions: Sequence[Question]) -> list[Question]:
        """Those that nobody was asked yet."""
        known = self._read()
        return [one for one in questions if one.id not in known]

    @property
    def votes(self) -> int:
        """Of people, where several may have judged a question."""
        return sum(votes for _, votes in self._read().values())

    def _read(self) -> dict[str, tuple[float | None, int]]:
        """Share and number of votes. A kill may have left half of a last line, as if that had not been judged."""
        try:
            rows = [json.loads(line) for line in self._whole().split("\n") if line]
            return {str(row["id"]): (_share(row["first_wins"]), len(row.get("votes", ()))) for row in rows}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            hint = "Put the line right or remove it; the others are kept."
            what = f"has a line that is no judgement ({error})."
            raise RunError(what, code="run/no-judgement", where=str(self._path), hint=hint) from error

    def _append(self, rows: Sequence[dict[str, Any]]) -> None:
        """All of them or none: people who judged a look are not asked about a part of it."""
        write_text(self._path, self._whole() + "".join(json.dumps(row) + "\n" for row in rows))

    def _whole(self) -> str:
        """The lines that are complete."""
        if not self._path.exists():
            return ""
        with disk_faults(self._path, "cannot be read"):
            lines, end, _ = self._path.read_bytes().rpartition(b"\n")
        return (lines + end).decode()


def _share(value: Any) -> float | None:
    if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
        raise ValueError(f"first_wins is {value!r}")
    return value


def _line(look: int, question: Question, given: float | list[float] | None) -> dict[str, Any]:
    votes = {"votes": given} if isinstance(given, list) else {}
    return {
        "look": look,
        "id": question.id,
        "prompt": question.shown,
        "first": question.first,
        "second": question.second,
        "newer_is_first": question.newer_is_first,
        "first_wins": fmean(given) if isinstance(given, list) else given,
        **votes,
    }
