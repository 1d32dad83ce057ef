"""Rounds that are killed and stopped again and again, until they are done."""

import json
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import tiny
from forked import BARE, zygote
from rounds.collecting import shorter
from rounds.test_rounds import SMALL, kept

from truing.config import resolved_yaml
from truing.labelling.simulated import AtPage, SimulatedPerson, judge_all

KILLS = 12
OPTIONS = ["--rounds", "2", "--labels-per-round", "10", "--patience", "3"]


def go(out: Path, number: int | None = None, after: float = 0.0) -> int:
    """`truing round`, which may be sent a signal so many seconds after it has its lock."""
    overrides = [word for one in SMALL for word in ("--set", one)]
    begun = zygote().start(
        ["round", "--simulated", *OPTIONS, *overrides, "--out", str(out)], out.with_suffix(".log"), without=BARE
    )
    if number is not None:
        time.sleep(after)
        begun.send_signal(number)
    return begun.wait()


def figures(out: Path) -> Any:
    return json.loads((out / "rounds.json").read_text())


@pytest.mark.slow
def test_killed_anywhere_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert go(tmp_path / "undisturbed") == 0
    seconds = time.monotonic() - begun
    out, draws, killed = tmp_path / "disturbed", random.Random(7), 0
    for number in [signal.SIGKILL, signal.SIGTERM] * (KILLS // 2):
        code = go(out, number, draws.uniform(0.0, seconds / 3))
        assert code in (0, -number, 128 + number), out.with_suffix(".log").read_text()
        killed += code != 0
    assert killed > 3
    assert go(out) == 0
    assert kept(out) == kept(tmp_path / "undisturbed")


@pytest.mark.slow
def test_people_judge_on_the_page_round_after_round_and_stopped_in_between(tmp_path: Path) -> None:
    """The recipe names no labels and no judge; Anna has her links from what the command prints."""
    whole = tiny.recipe(tmp_path, **{"data.heldout": 0.4})
    bare = whole.model_copy(update={"data": whole.data.model_copy(update={"preferences": None})})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(resolved_yaml(bare))
    out, log = tmp_path / "out", tmp_path / "out.log"
    arguments = ["round", str(recipe), "--rounds", "2", "--labels-per-round", "6", "--judgements", "3"]
    arguments += ["--patience", "3", "--person", "Anna", "--port", "0", "--out", str(out)]
    links, stopped = list[str](), False
    begun = zygote().start(arguments, log, without=BARE)
    while begun.poll() is None:
        printed = re.findall(r"Anna: (http\S+)", log.read_text()) if log.exists() else []
        if len(printed) > len(links):
            links = printed
            if len(links) == 2 and not stopped:
                stopped = True
                begun.send_signal(signal.SIGINT)
                assert begun.wait() == 130
                begun = zygote().start(arguments, log, without=BARE)
                continue
            judge_all(SimulatedPerson(shorter), AtPage(links[-1]), seed=0)
        time.sleep(0.1)
    assert begun.wait() == 0, log.read_text()
    found = figures(out)
    assert stopped
    assert found["judge"] is None
    assert [one["spent"] for one in found["rounds"]] == [6, 12]
    assert (out / "round-2" / "labels.json").exists()
