"""What every benchmark asks on its command line, and the model they share."""

import argparse
import json
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.environments import default_cache
from harness.machine import Ceilings, ceilings, processor
from harness.sides import Side, run_side

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Options:
    """Where things are, and how often they are run."""

    cache: Path
    """Environments, material, and what was measured"""
    model: Path
    rounds: int
    threads: int
    page: Path

    @property
    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        found: dict[str, Any] = json.loads((self.model / "config.json").read_text(encoding="utf-8"))
        return found

    def scratch(self, name: str) -> Path:
        """A directory for the material and results of a benchmark."""
        place = self.cache / name
        place.mkdir(parents=True, exist_ok=True)
        return place

    def ceilings(self, model: Path | None = None) -> Ceilings:
        """The machine's, at the shapes of the model."""
        script = Path(__file__).with_name("machine.py")
        side = Side("ceilings", Path(sys.executable), script, {"model": str(model or self.model)})
        found = ceilings(run_side(side, self.scratch("machine") / "ceilings", self.threads))
        print(f"ceilings: {found.rate / 1e9:.1f} GFLOP/s, {found.bandwidth / 1e9:.1f} GB/s", flush=True)
        return found

    @property
    def conditions(self) -> str:
        """What the figures were measured with, for a page's foot."""
        versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
        times = "once" if self.rounds == 1 else f"{self.rounds} times"
        return (
            f"Each side {times}, in turns, on {self.threads} threads of {processor()}. {versions}; "
            f"Python {platform.python_version()}."
        )


def parser(about: str, page: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(description=about.partition("\n")[0])
    made.add_argument("--cache", type=Path, default=default_cache(), help="environments and material (%(default)s)")
    made.add_argument(
        "--model",
        type=Path,
        default=default_cache().parent / "movies" / "base",
        help="a causal language model's directory; examples/movies/prepare.py makes the default (%(default)s)",
    )
    made.add_argument("--rounds", type=int, default=3, help="runs of each side (%(default)s)")
    made.add_argument("--threads", type=int, default=2, help="of each side (%(default)s)")
    made.add_argument(
        "--page", type=Path, default=ROOT / "docs" / "results" / page, help="where the results go (%(default)s)"
    )
    return made


def options(told: argparse.Namespace) -> Options:
    """The common part; SystemExit where there is no model."""
    model = told.model.resolve()
    if not (model / "config.json").is_file():
        raise SystemExit(f"no model in {model}; python examples/movies/prepare.py makes one, or give --model DIR.")
    return Options(told.cache.resolve(), model, told.rounds, told.threads, told.page)
