"""The table of docs/performance.md: what an update of the PPO benchmark must compute and move.

python benchmarks/harness/count_table.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.counts import Unit, layouts, operations, shape_of_config, update
from harness.smollm2 import CONFIG
from harness.tables import table

SMOLLM2_135M = shape_of_config(CONFIG)
UNIT = Unit((16,) * 16, (32,) * 16, epochs=2, minibatches=2)
RANK = 8


def count_table() -> str:
    """GFLOP of each phase and GB that must move, a row a layout."""
    rows = []
    for name, layout in layouts(SMOLLM2_135M.layers, RANK).items():
        phases = update(SMOLLM2_135M, UNIT, layout)
        each = [f"{operations({phase: costs}) / 1e9:,.0f}" for phase, costs in phases.items()]
        moved = [f"{sum(cost.bytes for cost in phases[phase]) / 1e9:.1f}" for phase in ("rollout", "learn")]
        rows.append([f"`{name}`", *each, f"{operations(phases) / 1e9:,.0f}", *moved])
    head = ["layout", "rollout", "score", "learn", "GFLOP", "GB, rollout", "GB, learn"]
    return table(head, rows)


if __name__ == "__main__":
    print(count_table())
