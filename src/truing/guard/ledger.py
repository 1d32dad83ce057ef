"""Every judgement that a stage was given, kept beside its logs: none is asked for twice, and none is lost."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from truing.core.errors import RunError
from truing.guard.contests import Question
from truing.guard.judges import Judge
from truing.processes import group
from truing.runs.files import disk_faults


class Ledger:
    """Judgements by question. A stage that is killed, or goes back, and asks the same again has them at once.

    So a judge that would answer otherwise the second time, as people and language models do, changes nothing of what a
    run that is taken up comes to.
    """

    def __init__(self, path: Path, judge: Judge) -> None:
        """Args:
        path: of the file, a line a judgement.
        judge: who is asked what is not in it.
        """
        self._path = path
        self._judge = judge

    def outcomes(self, look: int, questions: Sequence[Question]) -> dict[str, float]:
        """By id, of each question that was judged: 1 where the newer answer won, 0 where it lost, ½ for alike.

        Raises:
            WaitingError: people have not answered all of them yet.
            RewardError, DataError: as the judge raises them.
            RunError: the file cannot be read or written.
        """
        known = group.broadcast(lambda: self._judged(look, questions))
        return {one.id: one.outcome(known[one.id]) for one in questions if one.id in known}

    def _judged(self, look: int, questions: Sequence[Question]) -> dict[str, float]:
        known = self._read()
        left = [one for one in questions if one.id not in known]
        given = self._judge.judge(look, left) if left else {}
        self._append([_line(look, one, given[one.id]) for one in left if one.id in given])
        return known | given

    def _read(self) -> dict[str, float]:
        """A kill may have left half of a last line, which is as if it had not been judged."""
        if not self._path.exists():
            return {}
        with disk_faults(self._path, "cannot be read"):
            whole, _, _ = self._path.read_bytes().rpartition(b"\n")
        try:
            rows = [json.loads(line) for line in whole.splitlines()]
            return {str(row["id"]): float(row["first_wins"]) for row in rows}
        except (ValueError, KeyError, TypeError) as error:
            hint = "Put the line right or remove it; the others are kept."
            what = f"has a line that is no judgement ({error})."
            raise RunError(what, code="run/no-judgement", where=str(self._path), hint=hint) from error

    def _append(self, rows: Sequence[dict[str, Any]]) -> None:
        with disk_faults(self._path, "cannot be written"), open(self._path, "a+b") as file:
            whole = _whole(file)
            file.truncate(whole)
            file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
            file.flush()
            os.fsync(file.fileno())


def _whole(file: Any) -> int:
    """Bytes of the lines that are complete."""
    file.seek(0)
    return int(file.read().rfind(b"\n")) + 1


def _line(look: int, question: Question, first_wins: float) -> dict[str, Any]:
    return {
        "look": look,
        "id": question.id,
        "prompt": question.shown,
        "first": question.first,
        "second": question.second,
        "newer_is_first": question.newer_is_first,
        "first_wins": first_wins,
    }
