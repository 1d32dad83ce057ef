"""A run directory as the stages leave it, made of formulas instead of training."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

UPDATES = 45
EVERY = 5
RECIPE = """name: example
seed: 17
world:
  demonstrations: 6000
ppo:
  updates: 45
  kl:
    beta: 0.1
  variants:
    no-kl:
      kl.beta: 0.0
"""
OPENINGS = ["the kettle", "this lamp is", "i bought the tent", "the speaker", "after a week the chair", "my phone case"]


def write_example_run(
    root: Path,
    *,
    stages: Sequence[str] = ("sft", "reward", "ppo", "ppo-no-kl"),
    judge: str = "gold",
    prompts: Sequence[str] | None = None,
) -> Path:
    """Writes a finished run with these stages; `judge` names its judge, `prompts` its held-out prompts."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    records = [record(name, "done", 12.5 * (place + 1)) for place, name in enumerate(stages)]
    write_record(root, records)
    prompts = prompts or [f"{opening} {number}" for number in range(2) for opening in OPENINGS]
    for name in stages:
        (root / name).mkdir(exist_ok=True)
        if name == "sft":
            _write_sft(root / name)
        elif name == "reward":
            _write_reward(root / name)
        else:
            write_ppo(root / name, beta=0.0 if "no-kl" in name else 0.1, judge=judge, prompts=prompts)
    return root


def record(name: str, state: str, seconds: float | None) -> dict[str, Any]:
    """One stage of run.json."""
    finished = "2026-01-31T12:00:00+00:00" if state == "done" else None
    started = None if state == "pending" else "2026-01-31T11:58:00+00:00"
    kind = name.split("-")[0]
    return {"name": name, "kind": kind, "state": state, "started": started, "finished": finished, "seconds": seconds}


def write_record(root: Path, stages: Sequence[dict[str, Any]]) -> None:
    """run.json."""
    versions = {"truing": "0.1.0", "torch": "2.13.0", "python": "3.11.2", "platform": "Linux-6.1-x86_64"}
    inputs = {
        "base": {"path": "world/base", "files": {"config.json": "ab" * 32, "model.safetensors": "cd" * 32}},
        "data.preferences": {"path": "world/preferences.jsonl", "sha256": "ef" * 32},
    }
    write_json(root / "run.json", {"versions": versions, "seed": 17, "threads": 2, "inputs": inputs, "stages": stages})


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _wobble(step: int, scale: float = 1.0) -> float:
    return scale * math.sin(12.9898 * step) * math.cos(4.1414 * step)


def _write_sft(directory: Path) -> None:
    lines: list[dict[str, Any]] = [{"step": 0, "heldout_loss": 5.21}]
    for step in range(1, 189):
        line = {"step": step, "loss": 1.5 + 3.6 * math.exp(-step / 30) + _wobble(step, 0.12), "learning_rate": 1e-3}
        if step % 20 == 0 or step == 188:
            line["heldout_loss"] = 1.54 + 3.6 * math.exp(-step / 30)
        lines.append(line)
    write_lines(directory / "metrics.jsonl", lines)
    result = {"steps": 188, "train_rows": 5400, "heldout_rows": 600, "heldout_loss_before": 5.21, "heldout_loss": 1.547}
    write_json(directory / "result.json", result | {"truncation": "6,000 rows, all within 512 tokens.", "notes": []})


def _write_reward(directory: Path) -> None:
    lines = [
        {
            "step": step,
            "loss": 0.72 - 0.004 * step + _wobble(step, 0.04),
            "accuracy": 0.5 + 0.005 * step + _wobble(step, 0.08),
        }
        for step in range(1, 41)
    ]
    write_lines(directory / "metrics.jsonl", lines)
    calibration = [
        {"confidence": 0.55, "accuracy": 0.54, "accuracy_ci95": [0.35, 0.71], "count": 26},
        {"confidence": 0.65, "accuracy": 0.68, "accuracy_ci95": [0.48, 0.83], "count": 22},
        {"confidence": 0.74, "accuracy": 0.8, "accuracy_ci95": [0.55, 0.93], "count": 15},
        {"confidence": 0.86, "accuracy": 0.857, "accuracy_ci95": [0.49, 0.97], "count": 7},
    ]
    result = {
        "heldout_accuracy": 0.686,
        "heldout_accuracy_ci95": [0.57, 0.783],
        "heldout_pairs": 70,
        "heldout_loss": 0.598,
        "longer_wins_accuracy": 0.479,
        "longer_wins_ci95": [0.366, 0.594],
        "ece": 0.041,
        "calibration": calibration,
        "score_gap_mean": 0.61,
        "reward_length_correlation": -0.18,
        "train_pairs": 630,
        "score_mean": 0.31,
        "score_std": 0.92,
        "truncation": "700 pairs, all within 512 tokens.",
        "notes": [],
    }
    write_json(directory / "result.json", result)


def write_ppo(directory: Path, *, beta: float, judge: str, prompts: Sequence[str], updates: int = UPDATES) -> None:
    """A PPO stage: with β its judge rises with the score; without, it rises and falls."""
    directory.mkdir(exist_ok=True)
    free = beta == 0
    looks = [step for step in range(updates + 1) if step % EVERY == 0 or step == updates]
    lines = [_ppo_line(step, beta, judge, step in looks) for step in range(updates + 1)]
    write_lines(directory / "metrics.jsonl", lines)
    write_lines(
        directory / "samples.jsonl",
        [_sample(step, place, prompt, free, judge) for step in looks for place, prompt in enumerate(prompts)],
    )
    score, gold = _score(updates, free), _gold(updates, free)
    result = {
        "steps": updates,
        "episodes": 64 * updates,
        "score_first": 0.03,
        "score_last": score,
        "kl_last": _kl(updates, free),
        "beta": beta,
        "ratio_max_deviation": 3.2e-6,
        "stopped_by": "updates",
        "heldout_prompts": len(prompts),
        **{f"heldout_score_{key}": value for key, value in _comparison(0.02, score, 0.22).items()},
        "judges": {judge: _comparison(0.05, gold, 0.2)},
        "seconds": {"rollout_s": 11.2, "score_s": 4.1, "learn_s": 14.9},
        "warnings": ["Responses shrank from 16.0 to 7.9 tokens on average."] if free else [],
    }
    write_json(directory / "result.json", result)


def _comparison(first: float, last: float, half: float) -> dict[str, Any]:
    change = last - first
    return {
        "first": first,
        "first_ci95": [first - half, first + half],
        "last": last,
        "last_ci95": [last - half, last + half],
        "change": change,
        "change_ci95": [change - half, change + half],
    }


def _score(step: int, free: bool) -> float:
    return (1.6 if free else 0.95) * (1 - math.exp(-step / 15))


def _gold(step: int, free: bool) -> float:
    return 0.05 + (
        1.9 * step / 15 * math.exp(1 - step / 15) - 2.2 * (step / 45) ** 2 if free else 0.8 * (1 - math.exp(-step / 14))
    )


def _kl(step: int, free: bool) -> float:
    return 0.62 * step if free else 3.6 * (1 - math.exp(-step / 18))


def _ppo_line(step: int, beta: float, judge: str, look: bool) -> dict[str, Any]:
    free, line = beta == 0, {"step": step}
    if step:
        line |= {
            "episodes": 64 * step,
            "score": _score(step, free) + _wobble(step, 0.15),
            "score_std": 0.9,
            "beta": beta,
            "kl": _kl(step, free) + _wobble(step, 0.4),
            "kl_exact": _kl(step, free),
            "policy_loss": -0.01,
            "entropy": (1.7 - 0.033 * step) if free else 1.7 - 0.008 * step,
            "clip_fraction": abs(_wobble(step, 0.2)),
            "approx_kl": 0.004 + abs(_wobble(step, 0.008)),
            "ratio_max_deviation": 3.2e-6,
            "learning_rate": 1e-3,
            "value_loss": 0.4 * math.exp(-step / 20) + 0.1,
            "explained_variance": 1 - 4 * math.exp(-step / 8),
            "length": (16 - 0.18 * step) if free else 16 + _wobble(step),
            "eos_rate": min(1.0, 0.93 + 0.001 * step),
            "distinct_2": (0.42 - 0.006 * step) if free else 0.42,
            "rollout_s": 0.25,
            "score_s": 0.09,
            "learn_s": 0.33,
        }
    if look:
        line |= {
            "heldout_score": _score(step, free),
            "heldout_kl": _kl(step, free),
            f"judge_{judge}": _gold(step, free),
        }
    return line


def _sample(step: int, place: int, prompt: str, free: bool, judge: str) -> dict[str, Any]:
    before = "arrived late and the handle is fairly loose , though the colour is nice ."
    after = (
        "fairly good . fairly good . fairly good ."
        if free
        else "is lovely and the handle feels sturdy . it heats quickly ."
    )
    score = _score(step, free) + _wobble(place, 0.5)
    return {
        "step": step,
        "prompt": prompt,
        "response": before if step == 0 else after,
        "score": score,
        "kl": _kl(step, free),
        "length": 14,
        "finished": place % 4 != 3,
        "judges": {judge: _gold(step, free) + _wobble(place, 0.4)},
    }
