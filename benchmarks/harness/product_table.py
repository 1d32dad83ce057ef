"""GFLOP/s of the three ways to compute a product on this machine: the table of docs/performance.md.

    python benchmarks/harness/product_table.py [--threads 1]

Rows of states meet a weight: PyTorch's own product, oneDNN's on the weight as it lies, and oneDNN's on a packed one.
`ONEDNN_MAX_CPU_ISA=AVX2` holds oneDNN to fewer instructions. Seconds, on cores that should have nothing else to do.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from harness.machine import processor, products, timed
from harness.tables import table

WEIGHTS = ((576, 192), (576, 576), (576, 1536))
"""Inputs and outputs: those of SmolLM2-135M for keys, queries and the feed-forward part"""
ROWS = {"1 row": (1,), "8 rows": (8,), "64 rows": (64,), "256 to 768 rows": (256, 768)}


def rates(inputs: int, outputs: int, rows: tuple[int, ...]) -> str:
    """Of each way, over all these numbers of rows."""
    work = 2 * inputs * outputs * sum(rows) / 1e9
    each = products(inputs, outputs).values()
    return " / ".join(f"{work / sum(timed(product, count, inputs) for count in rows):.0f}" for product in each)


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(asked.parse_args().threads)
    print(processor())
    with torch.no_grad():
        lines = [(f"{i} x {o}", *(rates(i, o, rows) for rows in ROWS.values())) for i, o in WEIGHTS]
    print(table(("weights", *ROWS), lines))


if __name__ == "__main__":
    main()
