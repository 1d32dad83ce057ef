"""Hold truing's losses and gradients against TRL's, each in its own environment, and write the results page.

    python benchmarks/parity/run.py [--cache DIRECTORY] [--page FILE]

The first run installs TRL twice into the cache, about 1.5 GB each. Exits with 1 if a difference is not explained.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import comparisons
import torch
from environments import environment, run_peer
from material import write
from ours_ppo import inputs_gap
from page import Findings, page

from truing.models.base import quiet_transformers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results" / "parity.md"


def measure(cache: Path) -> Findings:
    """Writes the material, runs both peers, and compares."""
    material, offline, ppo = cache / "material", cache / "measured-1.16", cache / "measured-1.12"
    write(material)
    run_peer(environment("trl-1.16", cache), "peer_trl.py", material, offline)
    run_peer(environment("trl-1.12", cache), "peer_ppo.py", material, ppo)
    updates = comparisons.read_updates(material, ppo)
    return Findings(
        offline=list(comparisons.offline_rows(material, offline)),
        ppo=list(comparisons.ppo_rows(updates)),
        inputs=inputs_gap(updates["ppo"]),
        alone=comparisons.alone(updates["ppo-micro"]),
        figures=comparisons.figures(updates["ppo"]),
        after_eos=comparisons.tokens_after_eos(updates["ppo-full"]),
        counted=json.loads((ppo / "counted.json").read_text(encoding="utf-8")),
    )


def main() -> int:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=home / "truing" / "parity", help="environments (%(default)s)")
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
