"""Whether one of five simulated people stands out who does not judge as the others do.

    python benchmarks/labelling/outliers.py

Prints what docs/labelling.md has: three of the five judge each item, and there is a control to every ten items.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from labelling.simulating import Habit, said

from truing.core.label_quality import Labeller
from truing.labelling import quality

SEEDS = 30
HABITS: tuple[Habit, ...] = ("spammer", "contrary", "left", "longer", "careless", "honest")
VOTES = (60, 120, 300)


def people(habit: Habit, votes: int, seed: int) -> list[Labeller]:
    """Anna, who has the habit, and four honest ones, of whom each gives about so many votes."""
    items = votes * 5 // 3
    everyone: dict[str, Habit] = {"Anna": habit, "Ben": "honest", "Cleo": "honest", "Dora": "honest", "Emil": "honest"}
    return quality.quality_of(said(everyone, items, 3, seed, controls=items // 10), "pairs").people


def main() -> None:
    quality.DRAWS = 2  # the interval of alpha marks nobody, and takes most of the time
    print("| one of the five |", *(f"{votes} votes each |" for votes in VOTES))
    print("|---" * (len(VOTES) + 1) + "|")
    mistakes = []
    for habit in HABITS:
        cells = []
        for votes in VOTES:
            runs = [people(habit, votes, seed) for seed in range(SEEDS)]
            marked = [bool(one.findings) for run in runs for one in run if one.name == "Anna"]
            mistakes += [(votes, bool(one.findings)) for run in runs for one in run if one.name != "Anna"]
            cells.append(f"{sum(marked) / len(marked):.0%} |")
        print(f"| {habit} |", *cells)
    shares = [[marked for number, marked in mistakes if number == votes] for votes in VOTES]
    print("| the other four |", *(f"{sum(marked) / len(marked):.1%} |" for marked in shares))


if __name__ == "__main__":
    main()
