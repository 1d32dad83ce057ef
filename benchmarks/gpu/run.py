"""What truing does on one GPU: whether it is right there, and how near it comes to what the GPU can do.

    python benchmarks/gpu/run.py [--device cuda] [--minutes 7] [--page PAGE]
    python benchmarks/gpu/run.py --device cpu --tiny --page /tmp/page.md    # that the script works, in seconds
    python benchmarks/gpu/run.py --empty                                    # the page as it is without a GPU

Nothing is downloaded: weights are random, in the shapes of known models. The page is written anew after each part, so
what was measured stays if time runs out; a part that fails says so, and the next one is begun.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results" / "gpu.md"
Found = dict[str, Any]
HEAD = """# On a GPU: right, and how fast

Written by `python benchmarks/gpu/run.py`: one call, under eight minutes, on whatever GPU is there. Models have random
weights in the shapes that are named; PPO has adapters of rank 16 on one base, and settings as they are
[chosen](../gpu.md#what-is-chosen). Ceilings are a copy and a product in bfloat16 in the same call. *Share* is the least
time, by [count](../layouts.md) of operations and bytes at these ceilings, over the time that was measured."""
EMPTY = "**No GPU has run this version, so the tables are empty.** Whoever has one can fill them with that one command."
NOT_YET = ""


def figure(found: Mapping[str, Any], name: str, form: str = "{:.2f}") -> str:
    """One cell; empty where it was not measured."""
    return form.format(found[name]) if name in found else NOT_YET


def rows_of_checks(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What is asked once, what is wanted of it, and what was found."""
    exact = {1.0: "yes", 0.0: "**no**"}.get(found.get("resumes_exactly", -1.0), NOT_YET)
    return [
        ("copy, GB/s", "", figure(found, "gigabytes", "{:,.0f}")),
        ("product in bfloat16, TFLOP/s", "", figure(found, "teraflops", "{:,.1f}")),
        ("float32: log-probabilities off the CPU's by", "≤ 1e-4", figure(found, "float32_difference", "{:.1e}")),
        ("bfloat16: KL to float32, nats a token", "≤ 1e-3", figure(found, "bfloat16_kl", "{:.1e}")),
        ("deterministic: a run that was stopped ends with the same bytes", "yes", exact),
        ("deterministic: times the seconds of an update", "≤ 1.15", figure(found, "deterministic_cost")),
    ]


COLUMNS: tuple[tuple[str, str, str, str], ...] = (
    ("rollout, tokens/s", "rollout_rate", "{:,.0f}", ""),
    ("times `generate` with a dynamic cache, as many rows", "times_generate", "{:.1f}", "≥ 5"),
    ("rollout: share", "rollout_share", "{:.0%}", "≥ 25 / 50 / 60%"),
    ("learning: operations of products over the ceiling", "learn_mfu", "{:.0%}", "≥ 20 / 40 / 50%"),
    ("learning, rows of an eighth of the length to all of it: seconds padded over packed", "packing", "{:.2f}", ""),
    ("update, s", "update_s", "{:.2f}", ""),
    ("of it rollout, s", "rollout_s", "{:.2f}", ""),
    ("score, s", "score_s", "{:.2f}", ""),
    ("learn, s", "learn_s", "{:.2f}", ""),
    ("peak of memory, GB", "peak_gb", "{:.1f}", ""),
    ("peak by count, GB", "counted_gb", "{:.1f}", "≤ 10% off"),
    ("waits a token step", "waits_a_token", "{:.2f}", "≤ 0.1"),
    ("waits a micro-batch", "waits_a_micro_batch", "{:.2f}", "≤ 1"),
    ("PPO's first ratio, largest deviation from 1", "ratio_max_deviation", "{:.1e}", "≤ 0.02"),
    ("learns by", "learns_by", "{}", ""),
    ("samples by", "samples_by", "{}", ""),
    ("remarks on loading it", "notes", "{}", ""),
)
"""What is measured of each model: in words, its name, its form, and what is wanted"""


def page(names: Sequence[str], checks: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]], foot: str) -> str:
    """The whole page, with whatever has been measured so far."""
    lines = [HEAD, "" if checks or models else EMPTY, "| | wanted | measured |\n| --- | ---: | ---: |"]
    lines[-1] += "".join(f"\n| {what} | {wanted} | {seen} |" for what, wanted, seen in rows_of_checks(checks))
    table = f"| | wanted | {' | '.join(names)} |\n| --- | ---: |{' ---: |' * len(names)}"
    for words, name, form, wanted in COLUMNS:
        cells = " | ".join(figure(models.get(model, {}), name, form) for model in names)
        table += f"\n| {words} | {wanted} | {cells} |"
    return "\n\n".join(line for line in [*lines, table, foot] if line) + "\n"


def conditions(device: str, failures: list[str]) -> str:
    """What was measured with, and what failed."""
    import torch

    name = torch.cuda.get_device_name() if device.startswith("cuda") else "a CPU, to see that the script works"
    versions = ", ".join(f"{library} {version(library)}" for library in ("torch", "transformers", "peft"))
    failed = f" Failed: {'; '.join(failures)}." if failures else ""
    return f"On {name}; {versions}. Each figure once, behind a warm-up.{failed}"


class Parts:
    """The parts of the measurement, one after the other, and the page after each."""

    def __init__(self, told: argparse.Namespace, names: Sequence[str]) -> None:
        self.checks: Found = {}
        self.models: dict[str, Found] = {name: {} for name in names}
        self._told, self._until, self._failures = told, time.monotonic() + 60 * told.minutes, list[str]()

    def run(self, name: str, into: Found, work: Callable[[], Found]) -> None:
        """One part, unless time is up; what goes wrong ends it alone."""
        begun, found = time.monotonic(), Found()
        if begun > self._until:
            self._failures.append(f"{name}: time was up")
            return
        try:
            found = work()
            into |= found
        except Exception as error:  # of any kind: the rest is measured all the same
            traceback.print_exc()
            self._failures.append(f"{name}: {type(error).__name__} {str(error)[:200]}")
        print(json.dumps({"part": name, "seconds": round(time.monotonic() - begun, 1), "found": found}), flush=True)
        foot = conditions(self._told.device, self._failures)
        self._told.page.write_text(page([*self.models], self.checks, self.models, foot), encoding="utf-8")


def main() -> None:
    """Measures, part after part."""
    told = arguments()
    if told.empty:
        told.page.write_text(page(NAMES, {}, {}, ""), encoding="utf-8")
        return
    import torch
    from gpu import measured, subjects

    from truing.config.sections import Compute
    from truing.models.device import device_of

    device_of(Compute(device=told.device, deterministic=True))  # what CUDA reads as it starts
    device = device_of(Compute(device=told.device))
    configs = subjects.tiny_configs() if told.tiny else subjects.configs()
    parts = Parts(told, [*configs])
    parts.run("ceilings", parts.checks, lambda: _ceilings(measured.ceilings(device, told.tiny)))
    smallest = next(iter(configs))
    parts.run("agreement", parts.checks, lambda: measured.agreement(configs[smallest][0], device))
    with TemporaryDirectory() as place:
        parts.run("going on", parts.checks, lambda: measured.resuming(told.device, Path(place)))

    def measure(name: str) -> None:
        """One model."""
        found = parts.models[name]
        made = subjects.subject(*configs[name], told.device)
        parts.run(f"{name}: sampling", found, lambda: _sampling(measured.sampling(made, device)))
        parts.run(f"{name}: update", found, lambda: _updating(measured.updating(made, device, parts.checks)))
        parts.run(f"{name}: waits", found, lambda: measured.waiting(made))
        parts.run(f"{name}: padding", found, lambda: measured.padding(made, device))
        parts.run(f"{name}: ways", found, lambda: measured.ways(made))
        if name == smallest:
            parts.run("deterministic", parts.checks, lambda: measured.determinism(made, device))

    for name in configs:
        parts.run(name, parts.models[name], lambda name=name: measure(name) or {})
        if device.type == "cuda":
            with suppress(RuntimeError):  # after a fault of the GPU nothing works, and each part says so
                torch.cuda.empty_cache()
    print(told.page.read_text(encoding="utf-8"))


def _ceilings(found: Found) -> Found:
    return {**found, "gigabytes": found["bandwidth"] / 1e9, "teraflops": found["operations"] / 1e12}


def _sampling(found: Found) -> Found:
    return found | {"times_generate": found["rollout_rate"] / found["generate_rate"]}


def _updating(found: Found) -> Found:
    peaks = {"peak_gb": "peak", "counted_gb": "counted_peak"}
    return found | {name: found[of] / 1e9 for name, of in peaks.items() if of in found}


NAMES = ("SmolLM2-135M", "Qwen2.5-1.5B", "Qwen2.5-7B")


def arguments() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu (%(default)s)")
    made.add_argument("--tiny", action="store_true", help="one tiny model, to see that the script works")
    made.add_argument("--minutes", type=float, default=7.0, help="after which no part is begun any more (%(default)s)")
    made.add_argument("--empty", action="store_true", help="write the page without figures")
    made.add_argument("--page", type=Path, default=PAGE, help="where the results go (%(default)s)")
    return made.parse_args()


if __name__ == "__main__":
    main()
