"""The guard with people as its judge: simulated ones, who open the links that the run shows and vote on its page.

    python benchmarks/guard/people.py [--cache DIR] [--seeds 17 18 ...] [--page-only]

Policies of the quickstart's reviews from β = 0, most of which come to game their reward. Makes the runs that are not
in the cache yet, from the same SFT and reward models as benchmarks/guard/run.py, and writes
docs/results/guard-people.md.
"""

import argparse
import re
import sys
import threading
import time
from dataclasses import dataclass
from http.client import HTTPException
from itertools import product
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from guard.runs import CASES, WORLDS, Recorded, place, recipe_of, recorded  # noqa: E402
from harness.environments import default_cache  # noqa: E402
from harness.tables import table, write  # noqa: E402

from truing.config import with_changes  # noqa: E402
from truing.labelling import waiting  # noqa: E402
from truing.labelling.simulated import AtPage, SimulatedPerson, careless, judge_all  # noqa: E402
from truing.pipeline.execute import run_pipeline  # noqa: E402
from truing.runs.interruption import Interruption  # noqa: E402
from truing.runs.metrics import read_jsonl  # noqa: E402
from truing.runs.progress import SilentProgress  # noqa: E402
from truing.worlds.reviews import gold_scores  # noqa: E402

PAGE = ROOT / "docs" / "results" / "guard-people.md"
REVIEWS = WORLDS[0]
UNGUARDED = CASES[0]
INTRODUCTION = """# The guard, by votes of people on the page

Written by `python benchmarks/guard/people.py`. The quickstart's reviews from β = 0 on three seeds whose policies game
their reward, as [the guard's page](guard.md) has them. The judges are three simulated people who open the links that
the run shows and vote on its page, over HTTP, while it waits. Two are honest: by an ordered logit at a temperature of
0.5 deviations they prefer the answer with more of the true reward (gold), or call the two alike. The third does not
look at half of what is shown. *Right*: votes for the answer with more gold, of those for a side. Gold is in standard
deviations of the demonstrations', the mean of 128 held-out prompts; in brackets, the highest on the way. Who is given
which pair depends on who is free, so another time the figures are others."""
HONEST, CARELESS = SimulatedPerson(gold_scores), careless(gold_scores)
CROWD = {"you": HONEST, "person 2": HONEST, "person 3": CARELESS}
"""Two who are honest, with noise, and one who does not look at half of what is shown"""


@dataclass(frozen=True)
class Asked:
    """How people are asked."""

    mode: str
    labels: int
    each: int

    @property
    def name(self) -> str:
        return f"people-{self.mode}-{self.labels}-{self.each}"

    @property
    def words(self) -> str:
        return f"`{self.mode}`, {self.labels} pairs, {self.each} vote{'s' if self.each > 1 else ''} each"


ASKED = (Asked("rollback", 400, 1), Asked("stop", 960, 1), Asked("stop", 400, 3))


class Links(SilentProgress):
    """Hears of each person's link, and has them judge whatever is shown there until the run has ended."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def note(self, text: str) -> None:
        found = re.fullmatch(r"(.*): (http\S+/\?t=\S+)", text)
        if found:
            self._threads.append(threading.Thread(target=self._judge, args=(CROWD[found[1]], AtPage(found[2]))))
            self._threads[-1].start()

    def leave(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _judge(self, person: SimulatedPerson, desk: AtPage) -> None:
        while not self._over.wait(0.1):
            try:
                judge_all(person, desk, self._seed)
            except (OSError, HTTPException):  # the page has ended with its run
                continue


def place_of(cache: Path, seed: int, asked: Asked) -> Path:
    return place(cache, REVIEWS, seed, UNGUARDED).with_name(asked.name)


def make(cache: Path, seed: int, asked: Asked) -> None:
    """Makes a run, or goes on with it."""
    root, first = place_of(cache, seed, asked), place(cache, REVIEWS, seed, UNGUARDED)
    page = {"people": len(CROWD), "each": asked.each, "port": 0}
    guard = {"mode": asked.mode, "labels": asked.labels, "judge": {"kind": "people", "page": page}}
    recipe = with_changes(recipe_of(cache, REVIEWS, seed, UNGUARDED), {"guard": guard})
    links, stop = Links(seed), Interruption()
    try:
        with waiting.people_of(recipe, root, links, stop, at_terminal=True) as people:
            older = first if not root.exists() else None
            run_pipeline(recipe, root, links, stop, older, people=people)
    finally:
        links.leave()


def right_votes(run: Recorded) -> tuple[int, int]:
    """Votes for the answer with more gold, of those that prefer one."""
    rows = read_jsonl(run.root / "ppo" / "judgements.jsonl")
    prompts, firsts, seconds = ([row[key] for row in rows] for key in ("prompt", "first", "second"))
    gold = zip(gold_scores(prompts, firsts), gold_scores(prompts, seconds), strict=True)
    votes = [(a > b, vote) for row, (a, b) in zip(rows, gold, strict=True) for vote in row["votes"] if a != b]
    decided = [(is_first, vote) for is_first, vote in votes if vote != 0.5]
    return sum(is_first == (vote == 1) for is_first, vote in decided), len(decided)


def row_of(cache: Path, seed: int, asked: Asked) -> list[Any] | None:
    root = place_of(cache, seed, asked)
    plain = recorded(cache, REVIEWS, seed, UNGUARDED)
    if plain is None or not (root / "ppo" / "result.json").exists():
        return None
    run = Recorded(root)
    result, (right, decided) = run.result, right_votes(run)
    return [
        seed,
        f"{plain.end:.2f} ({plain.peak:.2f})",
        f"{run.end:.2f} ({run.peak:.2f})",
        result["guard_kept_step"],
        f"ended at {max(run.gold)} of 45" if asked.mode == "stop" else f"{result['guard_rollbacks']} × back",
        result["guard_labels"],
        result["guard_votes"],
        f"{right / decided:.0%}",
    ]


def page(cache: Path, seeds: list[int]) -> list[str]:
    """Its parts."""
    head = ["seed", "gold at the end, nobody asked", "by people", "kept update", "outcome", "pairs", "votes", "right"]
    parts = [INTRODUCTION]
    for asked in ASKED:
        rows = [row for seed in seeds if (row := row_of(cache, seed, asked))]
        if rows:
            parts += [f"## {asked.words}", table(head, rows)]
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=default_cache() / "guard", help="runs (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[17, 20, 22])
    parser.add_argument("--page", type=Path, default=PAGE, help="where the results go (%(default)s)")
    parser.add_argument("--page-only", action="store_true", help="make no run")
    told = parser.parse_args()
    torch.set_num_threads(1)
    waiting.UNDO_SECONDS = 0.5  # who is simulated takes nothing back
    cache = told.cache.resolve()
    if not told.page_only:
        for seed, asked in product(told.seeds, ASKED):
            if not (place_of(cache, seed, asked) / "ppo" / "result.json").exists():
                start = time.monotonic()
                make(cache, seed, asked)
                print(seed, asked.name, f"{time.monotonic() - start:.0f} s", flush=True)
    write(told.page, *page(cache, told.seeds))


if __name__ == "__main__":
    main()
