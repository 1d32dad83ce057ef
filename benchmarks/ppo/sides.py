"""The sides of the PPO benchmarks, ours and TRL's, and the material that they read. `ragged` has them too."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import counts
from harness.environments import environment
from harness.options import Options
from harness.prompts import prompts
from harness.sides import Side, run_side

HERE = Path(__file__).resolve().parent
RANK = 8
THIRD = {"layers": 1 / 3}
"""`lora.layers`: policy and critic adapt the top third of the layers"""
OURS: dict[str, dict[str, Any]] = {
    "separate": {"roles": "separate"},
    "shared": {"roles": "shared"},
    "shared-third": {"roles": "shared", "lora": THIRD},
}
TRL: dict[str, dict[str, Any]] = {"trl": {"rank": None}, "trl-peft": {"rank": RANK}}
NAMES = {
    "separate": "truing, `separate`",
    "shared": "truing, `shared`, all layers",
    "shared-third": "truing, `shared`, top third",
    "trl": "TRL 1.12, four models",
    "trl-peft": "TRL 1.12, `peft_config`",
}


@dataclass(frozen=True)
class Work:
    """One PPO update on one model, the same for all sides."""

    model: Path
    prompt: int
    """Tokens of each prompt"""
    lengths: tuple[int, ...]
    """Tokens of each response"""
    epochs: int
    minibatches: int
    repeats: int
    """Updates that a process measures after its short one"""

    @property
    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        found: dict[str, Any] = json.loads((self.model / "config.json").read_text(encoding="utf-8"))
        return found

    @property
    def unit(self) -> counts.Unit:
        """What is counted of it."""
        return counts.Unit((self.prompt,) * len(self.lengths), self.lengths, self.epochs, self.minibatches)

    def phases(self, name: str) -> dict[str, list[counts.Cost]]:
        """What a side's phases must do at least."""
        shape = counts.shape_of_config(self.config)
        return counts.update(shape, self.unit, counts.layouts(shape.layers, RANK)[name])


def sides(work: Work, names: Iterable[str], scratch: Path, choices: Options) -> list[Side]:
    """The sides of these names, with a reward model made for them."""
    reward = scratch / "reward"
    write(scratch, choices, write="reward", model=str(work.model), place=str(reward), rank=RANK)
    told = {
        "model": str(work.model),
        "reward": str(reward),
        "prompts": prompts(len(work.lengths), work.prompt, work.config["vocab_size"]),
        "lengths": work.lengths,
        "epochs": work.epochs,
        "minibatches": work.minibatches,
        "repeats": work.repeats,
        "rank": RANK,
    }
    ours, peer = Path(sys.executable), None
    made = []
    for name in names:
        if name in OURS:
            made.append(Side(name, ours, HERE / "ours.py", told | OURS[name]))
        else:
            peer = peer or environment("trl-1.12", choices.cache)
            made.append(Side(name, peer, HERE / "peer.py", told | TRL[name]))
    return made


def write(scratch: Path, choices: Options, **told: Any) -> None:
    """Material, by a process of its own: the command itself never loads torch."""
    script = Path(counts.__file__).with_name("material.py")
    run_side(Side("material", Path(sys.executable), script, told), scratch / f"write-{told['write']}", choices.threads)
