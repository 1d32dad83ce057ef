"""Every comparison, with TRL's defects put into ours where the two differ."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import ours
import ours_groups
import ours_ppo
from cases import CASES, PPO_CASES, Case
from compare import Gap, gap
from group_cases import GROUP_CASES, STEPS
from ours_ppo import Defects, Update
from safetensors.torch import load_file

PPO_DEFECTS = {
    "ppo-full": Defects(sample_variance=True),
    "ppo": Defects(past_eos=True, sample_variance=True),
    "ppo-whiten": Defects(past_eos=True, sample_variance=True),
    "ppo-micro": Defects(past_eos=True, sample_variance=True, equal_micro_batches=True),
}
"""What explains the difference of each PPO case"""


@dataclass(frozen=True)
class Row:
    """One optimiser step on both sides."""

    title: str
    theirs: float
    """TRL's loss"""
    ours: float
    gap: Gap
    defects: tuple[str, ...] = ()
    """Names of what explains the gap"""
    explained: Gap | None = None
    """The gap that is left with these defects put into ours"""

    @property
    def holds(self) -> bool:
        """Whether the two are equal, or equal once the named defects are shared."""
        return self.gap.closed or (self.explained is not None and self.explained.closed)


def offline_rows(material: Path, peer: Path) -> Iterator[Row]:
    """All but PPO."""
    for case in CASES:
        theirs, measured = load_file(peer / f"{case.name}.safetensors"), ours.measure(case, material)
        row = Row(case.title, float(theirs["loss"]), float(measured["loss"]), gap(theirs, measured))
        if not row.gap.closed:
            defect, with_defect = _with_defect(case, material, peer)
            row = replace(row, defects=(defect,), explained=gap(theirs, with_defect))
        yield row


def _with_defect(case: Case, material: Path, peer: Path) -> tuple[str, ours.Measured]:
    if case.stage == "orpo" or case.sft:
        return ("prompts_in_sft" if case.stage == "orpo" else "sft_by_tokens"), ours.measure_as_trl_says(case, material)
    if case.micro < case.rows:
        micro_batches = json.loads((peer / f"{case.name}.json").read_text(encoding="utf-8"))
        if case.stage == "kto":
            return "own_reference_points", ours.measure_own_reference_points(case, material, micro_batches)
        return "equal_micro_batches", ours.measure_equal_micro_batches(case, material, micro_batches)
    return "no_smoothing", ours.measure(replace(case, smoothing=0.0), material)


def group_rows(material: Path, peer: Path) -> Iterator[Row]:
    """The first optimiser step of each update of GRPO and RLOO and its last."""
    for case in GROUP_CASES:
        for number, theirs, measured in ours_groups.measured(case, material, peer):
            if number in (1, STEPS):
                title = f"{case.title}; step {number}"
                yield Row(title, float(theirs["loss"]), float(measured["loss"]), gap(theirs, measured))


def read_updates(material: Path, peer: Path) -> dict[str, Update]:
    return {case.name: ours_ppo.read_update(case, material, peer) for case in PPO_CASES}


def ppo_rows(updates: dict[str, Update]) -> Iterator[Row]:
    """The first optimiser step of each update and its last, where the ratio has moved and the clips are in force."""
    for name, update in updates.items():
        defects = PPO_DEFECTS[name]
        for step in (0, len(update.steps) - 1):
            theirs, (measured, _) = update.theirs(step), ours_ppo.measure(update, step)
            yield Row(
                f"{update.case.title}; step {step + 1}",
                float(theirs["loss"]),
                float(measured["loss"]),
                gap(theirs, measured),
                tuple(key for key, there in vars(defects).items() if there),
                gap(theirs, ours_ppo.measure_with(update, step, defects)),
            )


def alone(update: Update) -> dict[str, Gap]:
    """What each defect of PPO changes in our last step when it is the only one; `none` has to be rounding."""
    last = len(update.steps) - 1
    measured, _ = ours_ppo.measure(update, last)
    kinds = {name: Defects(**{name: True}) for name in vars(Defects())} | {"none": Defects()}
    return {name: gap(measured, ours_ppo.measure_with(update, last, kind)) for name, kind in kinds.items()}


def figures(update: Update) -> dict[str, float]:
    """TRL's logged means over the optimiser steps, and ours over counted tokens on the same steps and weights."""
    seen = [ours_ppo.measure(update, step)[1] for step in range(len(update.steps))]
    norm = sum(float(g.square().sum()) for name, g in update.theirs(0).items() if name != "loss") ** 0.5
    return {
        "their_approx_kl": update.facts["metrics"]["policy/approxkl_avg"],
        "approx_kl": sum(step["approx_kl"] for step in seen) / len(seen),
        "their_entropy": update.facts["metrics"]["policy/entropy_avg"],
        "entropy": sum(step["entropy"] for step in seen) / len(seen),
        "last_clip_fraction": seen[-1]["clip_fraction"],
        "applied_norm": norm,
        "counted": update.sequences.count,
        "positions": update.sequences.response_mask.numel(),
    }


def tokens_after_eos(update: Update) -> tuple[int, int]:
    """Counted response tokens that follow an eos, and all counted ones."""
    tokens, eos = update.sequences.response_tokens, update.roles.base.tokenizer.eos_token_id
    after = ((tokens == eos).cumsum(1) > 0) & (tokens != eos) & update.sequences.response_mask
    return int(after.sum()), update.sequences.count
