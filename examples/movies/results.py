"""The tables of docs/results/movies.md, from a finished run and the cache it was made with.

    python examples/movies/results.py RUN CACHE

Samples are the first ten held-out prompts in the file's order, not chosen.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from truing.config.stages import STAGES
from truing.runs.files import read_json
from truing.runs.metrics import read_jsonl

POLICIES = tuple(name for name, spec in STAGES.items() if spec.makes_policy)
SAMPLES = 10


def interval(mean: float, low_high: Sequence[float]) -> str:
    return f"{mean:.3f} [{low_high[0]:.3f}, {low_high[1]:.3f}]"


def change(figures: dict[str, Any]) -> str:
    """First → last with intervals."""
    return f"{interval(figures['first'], figures['first_ci95'])} → {interval(figures['last'], figures['last_ci95'])}"


def reward_table(run: Path, cache: Path) -> Iterator[str]:
    result, rules = read_json(run / "reward" / "result.json"), read_json(cache / "baselines.json")
    yield "| who judges | pairs right [95%] |"
    yield "|---|---|"
    yield f"| **the reward model** | **{interval(result['heldout_accuracy'], result['heldout_accuracy_ci95'])}** |"
    for name, figures in rules.items():
        yield f"| {name} | {interval(figures['accuracy'], figures['ci95'])} |"
    yield f"\n{result['heldout_pairs']} held-out pairs; calibration error {result['ece']:.3f}."


def card_table(run: Path) -> Iterator[str]:
    """What each question to the reward model came to; a run of an older truing has none."""
    yield "| question | verdict | what was measured |"
    yield "|---|---|---|"
    for check in read_json(run / "reward" / "result.json").get("checks", []):
        yield f"| {check['title']} | {check['verdict']} | {check['finding']} |"


def policy_table(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    judges = list(next(iter(results.values()))["judges"])
    yield "| | score | " + " | ".join(judges) + " | KL, nats | tokens | ended by eos |"
    yield "|---" * (5 + len(judges)) + "|"
    for name, result in results.items():
        score = {key.removeprefix("heldout_score_"): value for key, value in result.items() if "heldout_score" in key}
        cells = [change(score) if score else "not asked", *(change(result["judges"][judge]) for judge in judges)]
        cells += [f"{result['heldout_kl_last']:.1f}"]
        cells += [f"{result['length_first']:.1f} → {result['length_last']:.1f}", f"{result['eos_rate_last']:.0%}"]
        yield f"| {name} | " + " | ".join(cells) + " |"


def samples_table(run: Path, names: Sequence[str]) -> Iterator[str]:
    samples = {name: read_jsonl(run / name / "samples.jsonl") for name in names}
    first = at_step(0, next(iter(samples.values())))[:SAMPLES]
    after = {name: at_step(rows[-1]["step"], rows) for name, rows in samples.items()}
    yield "| opening | before | " + " | ".join(names) + " |"
    yield "|---" * (2 + len(names)) + "|"
    for place, row in enumerate(first):
        cells = [row["prompt"], row["response"], *(rows[place]["response"] for rows in after.values())]
        yield "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def at_step(step: int, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["step"] == step]


def seconds_table(run: Path, results: dict[str, dict[str, Any]]) -> Iterator[str]:
    phases = {name: result.get("seconds", {}) for name, result in results.items()}
    yield "| stage | seconds | of which |"
    yield "|---|---|---|"
    for stage in read_json(run / "run.json")["stages"]:
        parts = ", ".join(
            f"{key.removesuffix('_s')} {value:.0f}" for key, value in phases.get(stage["name"], {}).items()
        )
        yield f"| {stage['name']} | {stage['seconds']:.0f} | {parts} |"


def main(run: Path, cache: Path) -> None:
    results = {
        name: read_json(run / name / "result.json") for name in POLICIES if (run / name / "result.json").exists()
    }
    parts = (
        reward_table(run, cache),
        card_table(run),
        policy_table(results),
        samples_table(run, list(results)),
        seconds_table(run, results),
    )
    print("\n\n".join("\n".join(part) for part in parts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
