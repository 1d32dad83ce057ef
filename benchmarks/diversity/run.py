"""How β changes the diversity of what PPO ends with, where every response can be counted.

    python benchmarks/diversity/run.py

Runs the PPO stage's own code on the enumerable world of tests/proofs for a range of β, prints a table and draws
docs/algorithms/beta-diversity.svg. Each figure stands beside that of the exact optimum.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from proofs.enumerable import kl, make_world  # noqa: E402
from proofs.solve import expected_distinct, solve  # noqa: E402

BETAS = (0.01, 0.03, 0.1, 0.3, 1.0)
WORLD = make_world(seed=11, scale=0.1)
SAMPLES = 256


def measures(logprobs: np.ndarray) -> dict[str, float]:
    """What a policy over counted responses is like."""
    return {
        "KL to the reference, nats": kl(logprobs, WORLD.ref_logprobs),
        "entropy, nats a response": -float(np.exp(logprobs) @ logprobs),
        f"distinct among {SAMPLES} samples": expected_distinct(logprobs, SAMPLES),
        "expected reward": float(np.exp(logprobs) @ WORLD.rewards),
    }


def main() -> None:
    found = [measures(solve(WORLD, beta).logprobs) for beta in BETAS]
    exact = [measures(WORLD.optimum(beta)) for beta in BETAS]
    names = list(found[0])
    print("| β | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for beta, ours, best in zip(BETAS, found, exact, strict=True):
        print(f"| {beta:g} | " + " | ".join(f"{ours[name]:.3f} ({best[name]:.3f})" for name in names) + " |")
    draw(names[:3], found, exact)


def draw(names: list[str], found: list[dict[str, float]], exact: list[dict[str, float]]) -> None:
    """One panel a measure: dots what PPO reached, the line what is exact."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        panel(axes, name, [row[name] for row in found], [row[name] for row in exact])
    with mpl.rc_context({"svg.hashsalt": "diversity", "svg.fonttype": "none"}):
        figure.savefig(ROOT / "docs" / "algorithms" / "beta-diversity.svg", metadata={"Date": None})


def panel(axes: Axes, name: str, found: list[float], exact: list[float]) -> None:
    axes.plot(BETAS, exact, color="#0066a8", linewidth=1.2, label="exact optimum")
    axes.plot(BETAS, found, "o", color="#c85a00", markersize=5, label="PPO")
    axes.set_xscale("log")
    axes.set_xlabel("β")
    axes.set_title(name, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    main()
