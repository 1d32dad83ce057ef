"""What LLM judges have said in a run, by the content of what they were asked: none is asked the same twice."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from truing.core.llm_usage import LlmUsage
from truing.processes import group
from truing.rewards.chat_server import Reply
from truing.runs.files import disk_faults


class Answers:
    """A line an answer, on disk as it comes: a run that is killed, and goes on, has them at once.

    So a judge that would answer otherwise the second time changes nothing of what a run that is taken up comes to.
    """

    def __init__(self, path: Path | None = None, stage: str = "") -> None:
        """Args:
        path: the file; None to remember them in this process alone.
        stage: who asks, for what it costs.
        """
        self._path, self._stage = path, stage
        self._rows = {row["asked"]: row for row in _rows(path)} if path and group.is_owner() else {}

    def __contains__(self, asked: str) -> bool:
        return asked in self._rows

    def text(self, asked: str) -> str:
        """What was answered to a question."""
        return str(self._rows[asked]["text"])

    def add(self, asked: str, judge: str, reply: Reply, said: float | None, pair: str = "") -> None:
        """One more.

        Args:
            asked: digest of the question.
            judge: its name in the recipe.
            reply: as it came.
            said: what was read in it; None for nothing.
            pair: which two responses it is about, in either order.
        """
        own = {"asked": asked, "stage": self._stage, "judge": judge, "said": said}
        row = own | ({"pair": pair} if pair else {}) | asdict(reply)
        self._rows[asked] = row
        if self._path is not None:
            with disk_faults(self._path, "cannot be written"), self._path.open("ab") as file:
                file.write((json.dumps(row) + "\n").encode())

    def usage(self) -> dict[str, LlmUsage]:
        """By judge, what the stage has asked for and what that took."""
        return group.broadcast(self._usage)

    def _usage(self) -> dict[str, LlmUsage]:
        own = [row for row in self._rows.values() if row["stage"] == self._stage]
        names = dict.fromkeys(row["judge"] for row in own)
        return {name: _used([row for row in own if row["judge"] == name]) for name in names}


def digest(base_url: str, body: dict[str, Any]) -> str:
    """Of all that an answer depends on."""
    return hashlib.sha256(json.dumps([base_url, body], sort_keys=True).encode()).hexdigest()[:32]


def _used(rows: list[dict[str, Any]]) -> LlmUsage:
    shares: dict[str, list[float]] = {}
    for row in rows:
        if row.get("pair") and row["said"] is not None:
            shares.setdefault(row["pair"], []).append(row["said"])
    both = [two for two in shares.values() if len(two) == 2]
    return LlmUsage(
        answers=len(rows),
        calls=sum(row["calls"] for row in rows),
        prompt_tokens=sum(row["prompt_tokens"] for row in rows),
        completion_tokens=sum(row["completion_tokens"] for row in rows),
        unreadable=sum(row["said"] is None for row in rows),
        pairs=len(both) if shares else None,
        first_preferred=fmean(share for two in both for share in two) if both else None,
        contradicted=fmean(two in ([1.0, 1.0], [0.0, 0.0]) for two in both) if both else None,
    )


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    """Those of a file; half a line that a kill left is as if it had not been answered, and is cut off."""
    if not path.exists():
        return []
    with disk_faults(path, "cannot be read"):
        lines, end, rest = path.read_bytes().rpartition(b"\n")
        if rest:
            with path.open("r+b") as file:
                file.truncate(len(lines) + len(end))
    rows = []
    for line in lines.split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue  # asked again
        if isinstance(row, dict) and {"asked", "stage", "judge", "said", "text", "calls"} <= row.keys():
            rows.append(row)
    return rows
