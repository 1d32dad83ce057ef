"""A PPO update by truing and by TRL 1.12, the last with PPO: seconds of each phase and peak memory, side by side.

    python benchmarks/ppo/run.py [--cache DIR] [--model DIR] [--only full shared tiny] [--episodes 16] [--rounds 3]

Writes docs/results/performance-ppo.md with the benchmarks ppo_full, ppo_shared and ppo_tiny. The default model needs
about 8 GB of memory. The first run installs TRL 1.12 into the cache, about 1.5 GB.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import tables
from harness.options import Options, options, parser
from harness.sides import alternate, refuse_unequal
from ppo.page import INTRODUCTION, Section, ratios, section, targets, wanted
from ppo.sides import Work, sides, write

SIDES = {
    "full": ("separate", "trl"),
    "shared": ("shared", "shared-third", "trl", "trl-peft"),
    "tiny": ("separate", "shared", "shared-third", "trl", "trl-peft"),
}
"""Sides of each benchmark; ppo_full and ppo_shared are one work, so TRL's four models run once for both"""


def measure(title: str, work: Work, names: list[str], choices: Options) -> Section:
    """The sides in turns."""
    scratch = choices.scratch(f"ppo-{title}")
    measured = alternate(sides(work, names, scratch, choices), choices.rounds, scratch, choices.threads)
    refuse_unequal(measured)
    return Section(title, work, measured, choices.ceilings(work.model))


def main() -> None:
    """Measure, print, write the page."""
    asked = parser(__doc__ or "", "performance-ppo.md")
    asked.add_argument("--only", nargs="+", choices=list(SIDES), default=list(SIDES), help="benchmarks to run")
    asked.add_argument("--without", nargs="+", default=[], help="sides to leave out, such as shared-third")
    asked.add_argument("--episodes", type=int, default=16, help="responses an update with the model (%(default)s)")
    asked.add_argument("--tiny-episodes", type=int, default=128, help="the same with the tiny model (%(default)s)")
    told = asked.parse_args()
    choices, found = options(told), []
    large = [name for part in ("full", "shared") if part in told.only for name in SIDES[part]]
    large = [name for name in dict.fromkeys(large) if name not in told.without]
    if large:
        work = Work(choices.model, 16, (32,) * told.episodes, epochs=2, minibatches=2, repeats=1)
        found.append(measure("model", work, large, choices))
    if "tiny" in told.only:
        place = choices.scratch("ppo-tiny")
        write(place, choices, write="llama", place=str(place / "llama"), shape={})
        work = Work(place / "llama", 16, (32,) * told.tiny_episodes, epochs=2, minibatches=2, repeats=3)
        found.append(measure("tiny", work, [n for n in SIDES["tiny"] if n not in told.without], choices))
    parts = [part for one in found for part in (section(one), targets(one) if one.title == "model" else ratios(one))]
    tables.write(choices.page, INTRODUCTION, *parts, choices.conditions)
    tables.tell(target for one in found for target in wanted(one))


if __name__ == "__main__":
    main()
