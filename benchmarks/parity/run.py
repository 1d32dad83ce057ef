"""Hold truing's losses and gradients against TRL's, each in its own environment, and write the results page.

    python benchmarks/parity/run.py [--cache DIRECTORY] [--page FILE]

The first run installs TRL twice into the cache, about 1.5 GB each. Exits with 1 if a difference is not explained.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import comparisons
import torch
from harness.environments import default_cache, environment, run_logged
from material import write
from ours_ppo import inputs_gap
from page import Findings, page

from truing.models.description import quiet_transformers

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "results" / "parity.md"


def measure(cache: Path) -> Findings:
    """Writes the material, runs both peers, and compares."""
    material, offline, ppo = (cache / "parity" / name for name in ("material", "measured-1.16", "measured-1.12"))
    write(material)
    run_peer(environment("trl-1.16", cache), "peer_trl.py", material, offline)
    run_peer(environment("trl-1.12", cache), "peer_ppo.py", material, ppo)
    updates = comparisons.read_updates(material, ppo)
    groups = cache / "parity" / "groups-1.16"
    run_peer(environment("trl-1.16", cache), "peer_groups.py", material, groups)
    return Findings(
        groups=list(comparisons.group_rows(material, groups)),
        offline=list(comparisons.offline_rows(material, offline)),
        ppo=list(comparisons.ppo_rows(updates)),
        inputs=inputs_gap(updates["ppo"]),
        alone=comparisons.alone(updates["ppo-micro"]),
        figures=comparisons.figures(updates["ppo"]),
        after_eos=comparisons.tokens_after_eos(updates["ppo-full"]),
        counted=json.loads((ppo / "counted.json").read_text(encoding="utf-8")),
    )


def run_peer(python: Path, script: str, material: Path, out: Path) -> None:
    """Runs a peer's script with its Python, on one thread, so that sums are taken in one order."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    run_logged([python, HERE / script, material, out], out.with_name(f"{out.name}.log"), threads=1)


def main() -> int:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=default_cache(), help="environments (%(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write the results (%(default)s)")
    options = parser.parse_args()
    quiet_transformers()
    torch.set_num_threads(1)  # as the peers
    findings = measure(options.cache.resolve())
    text = page(findings)
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(text, encoding="utf-8")
    print(text)
    return 0 if findings.hold else 1


if __name__ == "__main__":
    sys.exit(main())
