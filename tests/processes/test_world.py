"""A world of one process: the verbs return what they are given, and nothing of several processes is loaded."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import truing
from truing.core.errors import RewardError
from truing.processes import world

SOURCES = Path(truing.__file__).parent


def test_one_process_owns_the_run_and_has_all_of_the_work() -> None:
    work = [[3, 1], [2]]
    results = {2: "b", 0: "a"}
    assert world.is_owner() is True
    assert world.size() == 1
    assert world.share(work) == work
    assert world.share_by_cost([5, 1, 3]) == [0, 1, 2]
    assert world.gather(results) == results
    assert world.each(2.5) == [2.5]
    assert world.by_owner(lambda: "done") == "done"


def test_the_owner_is_asked_once_and_its_error_is_everybodys() -> None:
    asked: list[int] = []

    def answer() -> str:
        asked.append(1)
        if len(asked) == 2:
            raise RewardError("gave nan.", where="own.py:score", hint="Look.")
        return "seven"

    assert world.from_owner(answer) == "seven"
    assert len(asked) == 1
    with pytest.raises(RewardError) as refused:
        world.from_owner(answer)
    assert refused.value.where == "own.py:score"


def test_an_error_of_a_process_that_is_alone_leaves_it_as_it_is() -> None:
    error = RewardError("gave nan.", where="own.py:score")
    with pytest.raises(RewardError) as refused, world.joined():
        raise error
    assert refused.value is error
    with world.joined():
        pass


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_rows_are_shared_by_what_they_cost(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest first, to whoever has least: 9 | 5 + 3 | 4 + 4, by hand."""
    monkeypatch.setattr(world, "_peers", SimpleNamespace(rank=rank, size=3))
    assert world.share_by_cost([4, 9, 4, 3, 5]) == [[1], [3, 4], [0, 2]][rank]
    assert world.share("abcde") == ["ad", "be", "c"][rank]
    with world.alone():
        assert world.share("abcde") == "abcde"


def test_no_other_room_knows_of_several_processes() -> None:
    mentions = [
        file.relative_to(SOURCES)
        for file in SOURCES.rglob("*.py")
        if re.search(r"torch\.distributed|from torch import [^\n]*\bdistributed\b", file.read_text(encoding="utf-8"))
    ]
    assert [file for file in mentions if file.parts[0] != "processes"] == []


def test_the_pipeline_begins_no_group_of_processes() -> None:
    program = "import sys, truing.pipeline.execute; print('truing.processes.peers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
