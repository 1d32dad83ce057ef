"""A run directory as the stages leave it, made of formulas instead of training."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

UPDATES, EVERY = 20, 5
STAGES = ("sft", "reward", "ppo", "ppo-no-kl")
PROMPTS = [f"review of the {thing} :" for thing in ("kettle", "lamp", "tent", "chair")]
CARD = {
    "heldout_accuracy": 0.686,
    "heldout_accuracy_ci95": [0.57, 0.783],
    "heldout_pairs": 70,
    "heldout_loss": 0.598,
    "longer_wins_accuracy": 0.479,
    "longer_wins_ci95": [0.366, 0.594],
    "ece": 0.041,
    "calibration": [
        {"confidence": 0.55, "accuracy": 0.54, "accuracy_ci95": [0.35, 0.71], "count": 26},
        {"confidence": 0.86, "accuracy": 0.857, "accuracy_ci95": [0.49, 0.97], "count": 7},
    ],
    "score_gap_mean": 0.61,
    "reward_length_correlation": -0.18,
    "train_pairs": 630,
    "truncation": "630 of 630 rows kept.",
    "notes": [],
}


def write_run(
    root: Path,
    stages: Sequence[str] = STAGES,
    *,
    judge: str = "gold",
    prompts: Sequence[str] = PROMPTS,
    responses: tuple[str, str] = ("arrived late .", "is lovely and sturdy ."),
) -> Path:
    """A finished run with these stages; its policies answer `prompts` with `responses`, before and after."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "recipe.yaml").write_text("name: example\nseed: 17\nworld:\n  demonstrations: 6000\n", encoding="utf-8")
    write_record(root, dict.fromkeys(stages, "done"))
    for name in stages:
        stage = root / name
        stage.mkdir()
        if name == "sft":
            _write_sft(stage)
        elif name == "reward":
            write_lines(stage / "metrics.jsonl", [_pairs_line(step) for step in range(1, 41)])
            write_json(stage / "result.json", CARD | {"score_mean": 0.31, "score_std": 0.92})
        else:
            write_policy(stage, hacked=name == "ppo-no-kl", judge=judge)
            rows = [_sample(step, text, responses[step > 0], judge) for step in evaluations() for text in prompts]
            write_lines(stage / "samples.jsonl", rows)
    return root


def write_record(root: Path, states: dict[str, str]) -> None:
    """run.json, with each stage in its state; a stage takes 12.5 s."""
    versions = {"truing": "0.1.0", "torch": "2.13.0", "python": "3.11.2", "platform": "Linux-6.1-x86_64"}
    inputs = {"base": {"path": f"{root.absolute()}/world/base", "files": {"config.json": "ab" * 32}}}
    stages = [
        {
            "name": name,
            "kind": name.split("-")[0],
            "state": state,
            "started": None if state == "pending" else "2026-01-31T11:58:00+00:00",
            "finished": "2026-01-31T12:00:00+00:00" if state == "done" else None,
            "seconds": 12.5 if state == "done" else None,
        }
        for name, state in states.items()
    ]
    write_json(root / "run.json", {"versions": versions, "seed": 17, "threads": 2, "inputs": inputs, "stages": stages})


def write_policy(stage: Path, *, hacked: bool, judge: str) -> None:
    """A policy's metrics: its judge rises with the score, or, if hacked, rises and falls."""
    kind = stage.name.split("-")[0]
    write_lines(stage / "metrics.jsonl", [_policy_line(step, kind, hacked, judge) for step in range(UPDATES + 1)])
    result = {
        "steps": UPDATES,
        "kl_last": kl(UPDATES, hacked),
        "heldout_kl_last": kl(UPDATES, hacked),
        "length_first": 16.0,
        "length_last": 7.9 if hacked else 15.2,
        "eos_rate_last": 1.0,
        "beta": 0.0 if hacked else 0.1,
        **{f"heldout_score_{key}": value for key, value in compared(0.02, score(UPDATES, hacked)).items()},
        "judges": {judge: compared(gold(0, hacked), gold(UPDATES, hacked))},
        "warnings": ["Responses shrank from 16.0 to 7.9 tokens on average."] if hacked else [],
    }
    own = {
        "ppo": {"episodes": 64 * UPDATES, "seconds": {"rollout_s": 10.0, "score_s": 4.0, "learn_s": 6.0}},
        "dpo": CARD | {"variant": "sigmoid"},
    }
    write_json(stage / "result.json", result | own[kind])


def compared(first: float, last: float, half: float = 0.2) -> dict[str, Any]:
    """A metric before and after, each with an interval of ± `half`."""
    values = {"first": first, "last": last, "change": last - first}
    return values | {f"{key}_ci95": [value - half, value + half] for key, value in values.items()}


def evaluations() -> list[int]:
    """The updates at which held-out prompts are answered."""
    return list(range(0, UPDATES + 1, EVERY))


def score(step: int, hacked: bool) -> float:
    return (1.6 if hacked else 0.95) * (1 - math.exp(-step / 7))


def gold(step: int, hacked: bool) -> float:
    return 0.05 + (1.2 * math.sin(step / 5) if hacked else 0.8 * (1 - math.exp(-step / 6)))


def kl(step: int, hacked: bool) -> float:
    return 1.4 * step if hacked else 3.6 * (1 - math.exp(-step / 8))


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _write_sft(stage: Path) -> None:
    lines = [{"step": 0, "heldout_loss": 5.21}, *({"step": s, "loss": 1.5 + 3 / s} for s in range(1, 40))]
    write_lines(stage / "metrics.jsonl", [*lines, {"step": 40, "loss": 1.56, "heldout_loss": 1.547}])
    losses = {"heldout_loss_before": 5.21, "heldout_loss": 1.547, "heldout_perplexity": math.exp(1.547)}
    counts = {"steps": 40, "train_rows": 5400, "heldout_rows": 600}
    write_json(stage / "result.json", counts | losses | {"truncation": "5,400 of 5,400 rows kept.", "notes": []})


def _pairs_line(step: int) -> dict[str, Any]:
    return {"step": step, "loss": 0.72 - 0.004 * step, "accuracy": 0.5 + 0.005 * step, "margin": 0.01 * step}


def _policy_line(step: int, kind: str, hacked: bool, judge: str) -> dict[str, Any]:
    line: dict[str, Any] = {"step": step}
    if step and kind == "dpo":
        line |= _pairs_line(step)
    elif step:
        line |= {
            "score": score(step, hacked) + 0.1 * math.sin(9 * step),
            "beta": 0.0 if hacked else 0.1,
            "kl_exact": kl(step, hacked),
            "entropy": 1.7 - 0.02 * step,
            "clip_fraction": 0.1 + 0.05 * math.sin(7 * step),
            "approx_kl": 0.004 + 0.002 * math.sin(5 * step),
            "ratio_max_deviation": 3.2e-6,
            "value_loss": 0.4 * math.exp(-step / 9) + 0.1,
            "explained_variance": 1 - 4 * math.exp(-step / 4),
            "grad_norm": 0.5,
            "length": 16 - 0.3 * step,
            "eos_rate": 0.93 + 0.001 * step,
            "distinct_2": 0.42 - 0.01 * step,
        }
    if step in evaluations():
        line |= {
            "heldout_score": score(step, hacked),
            "heldout_kl": kl(step, hacked),
            "heldout_length": 16 - 0.3 * step,
        }
        line |= {"heldout_eos_rate": 0.95, f"judge_{judge}": gold(step, hacked)}
        line |= {"heldout_accuracy": 0.6, "score_gap_mean": 0.3} if step and kind == "dpo" else {}
    return line


def _sample(step: int, prompt: str, response: str, judge: str) -> dict[str, Any]:
    measured = {"score": 0.1 * step, "kl": 0.2 * step, "length": 14, "judges": {judge: 0.05 * step}}
    tokens = {"tokens": [response, ""], "token_log_ratios": [0.5, 0.25]}
    return {"step": step, "prompt": prompt, "response": response, "finished": step > 0, **measured, **tokens}
