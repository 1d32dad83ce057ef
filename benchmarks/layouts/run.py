"""What four models take in each layout, by count, and how far such counts are from what was measured.

    python benchmarks/layouts/run.py [--page PATH] [--device NAME]

Writes docs/layouts.md. Nothing runs but counts: shapes are read off models without weights, and what was measured is
read from the table in docs/memory.md.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import yaml
from harness.material import llama_shape
from harness.smollm2 import CONFIG
from harness.tables import table
from processes.memory import BFLOAT16, CASES, RECIPE, SHARDED, Case
from processes.run import RECIPE as TIMED_RECIPE
from processes.run import SHAPE as TIMED_SHAPE
from processes.run import UPDATES
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedModel, Qwen2Config

from truing.config.recipe import Recipe
from truing.config.variants import with_changes
from truing.core.errors import ModelError
from truing.estimate.dry_run import Usage
from truing.estimate.estimator import ROOM
from truing.estimate.launches import LIBRARIES, OF_SEVERAL, Measured, Share, launch_of
from truing.estimate.work import DEVICES, Device, Links, Update, phases
from truing.estimate.work import Case as Step
from truing.models.tensor_plan import tensor_plan
from truing.preflight.layouts import Layout, Models, Numbers, Shape, held
from truing.preflight.shapes import shape_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
UPDATE = Update(episodes=512, prompt_tokens=256, response_tokens=256, epochs=4)
LEARN_TOKENS, RANK = 16_384, 16
ROLES = {"separate": Models(2, 2, 0, 0, True), "shared": Models(0, 1, 2, 1, True)}
SIZES: dict[str, tuple[int, PretrainedConfig]] = {
    "1.5B on one": (
        1,
        Qwen2Config(
            hidden_size=1536,
            intermediate_size=8960,
            num_hidden_layers=28,
            num_attention_heads=12,
            num_key_value_heads=2,
            vocab_size=151_936,
            tie_word_embeddings=True,
        ),
    ),
    "7B on 8": (
        8,
        Qwen2Config(
            hidden_size=3584,
            intermediate_size=18_944,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            vocab_size=152_064,
            tie_word_embeddings=False,
        ),
    ),
    "70B on 64": (
        64,
        LlamaConfig(
            hidden_size=8192,
            intermediate_size=28_672,
            num_hidden_layers=80,
            num_attention_heads=64,
            num_key_value_heads=8,
            vocab_size=128_256,
            tie_word_embeddings=False,
        ),
    ),
}
"""Devices, and the shapes of Qwen2.5 1.5B and 7B and of Llama 3 70B"""
MEASURED_TOKENS = {"sft": 64, "ppo": 48}
"""Of its rows"""
TIMED_LAYOUTS = (Layout(data=2), Layout(tensor=2), Layout(pipeline=2))
"""As the columns of docs/processes.md have them"""
TIMED_LINKS = Links(2e9, 2e9, 2, 1.6e-3)
"""As `truing doctor` measured them where these columns were measured, in the middle of three times"""
TIMED_TOKENS = {"sft": 80, "ppo": 72}
"""Of a text of benchmarks/processes/run.py: 64 to 96, and a prompt of 24 with a response of 48"""

READING = """
What the counts say:

- A weight that learns takes 16 bytes, whatever `compute.dtype` is: that, and not the frozen weights, is most of what
  four separate models take. Its copy for a checkpoint, 12 bytes, lies in the memory of the machine.
- With adapters on one base, layers cut over four or eight do for 70B. A sharded policy is whole while it samples, so it
  does not.
- What was learnt is merged and saved by the owner alone, on the CPU of its machine, which so has to hold one base
  whole: 2 bytes for each parameter of a frozen one in bfloat16 (141 GB of 70B), 4 of one that learns.
- Sharding over one machine costs little time; over many, what it gathers takes longer than what it computes.
- Layers in stages move little, so they reach over machines; but each process has the whole policy while it samples, and
  stages wait for each other.
""".strip()
CHECK = f"""
## Against what was measured

The peaks in [memory](memory.md#measured), of random weights in the shape of SmolLM2-135M on a CPU. By count: with
{LIBRARIES / 1e9:.2f} GB for Python and its libraries, {OF_SEVERAL / 1e9:.2f} more for those of several processes, and
nothing for compiled products (up to 0.65 GB) or for what the allocator cannot reuse, which is most of what 4 bit
takes beyond its count. As the doctor does: the measured peak of one process, changed by what several change of
the count; where several were measured, beside the largest of them.
""".strip()
SECONDS = f"""
Seconds, of two processes of one core each beside one ([processes](processes.md)), as the doctor predicts them from
that one: half of its seconds, and what is exchanged at {TIMED_LINKS.link / 1e9:g} GB/s and
{1e3 * TIMED_LINKS.message:g} ms a message, as it measured there. What it leaves out is waiting: rows are of unequal
length, and weights are read as often for half of them; of slices also what each process computes as a whole, such as
norms. Seconds of shards and on GPUs were compared with nothing.
""".strip()


@dataclass(frozen=True)
class Checked:
    """A case that was measured, in GB."""

    name: str
    measured: float
    counted: float
    from_one: float | None
    """From what one process was measured to take; None where there is but one"""


def outline(config: PretrainedConfig, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model without weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]


def layouts(model: PreTrainedModel, devices: int) -> Iterator[Layout]:
    """All that use so many devices."""
    yield Layout(data=devices)
    if devices > 1:
        yield Layout(data=devices, shard=True)
    counts = [count for count in (2, 4, 8) if devices % count == 0]
    for stages in counts:
        yield Layout(data=devices // stages, pipeline=stages)
    for tensor in counts:
        try:
            tensor_plan(model, tensor)
        except ModelError:
            continue
        yield Layout(data=devices // tensor, tensor=tensor)


def introduction(name: str) -> str:
    """For devices of this kind."""
    device = DEVICES[name]
    operations, bandwidth = device.operations / 1e12, device.bandwidth / 1e12
    rates = f"reaches its {operations:.0f} TFLOP/s and {bandwidth:.2f} TB/s ({device.source})"
    return f"""# Layouts, by count

Every figure on this page but those called measured is an **estimate**: counted from the shape of a model by
[`layouts`](../src/truing/preflight/layouts.py) and [`work`](../src/truing/estimate/work.py), whose heads list the
assumptions. No model of these sizes was run. `python benchmarks/layouts/run.py` writes this page; `truing doctor RECIPE
--processes N` does the counts of memory for any recipe, on top of what it measures ([doctor](doctor.md)).

## 1.5B, 7B and 70B

An update of PPO with {UPDATE.episodes} episodes of {UPDATE.prompt_tokens} + {UPDATE.response_tokens} tokens and
{UPDATE.epochs} epochs, `compute.dtype: bfloat16`, checkpointing, {LEARN_TOKENS:,} tokens a micro-batch, adapters of
rank {RANK}; policy, critic, reference and reward model.

| column | what |
|---|---|
| kept | GB of weights, moments and adapters of each process, at any time: of four models 28 bytes a parameter |
| peak | GB at the worst moment of a step: with gradients ([36 bytes](memory.md#counts)), activations, all gathered |
| while loading | GB then: each process reads its part of the layers, and vocabulary and a few layers whole |
| fits | whether the larger of the two is within {ROOM:.0%} of {device.memory / 1e9:.0f} GB |
| seconds | if each {name} {rates}, exchange on top, nothing overlapped; a run takes more |
| moved | GB through each process in the update |
""".strip()


def estimates(device: Device) -> Iterator[tuple[str, ...]]:
    """The rows of the table."""
    for size, (devices, config) in SIZES.items():
        model = outline(config)
        for roles in ROLES:
            for layout in layouts(model, devices):
                yield size, roles, layout.options or "one process", *figures(shape_of(model), roles, layout, device)


def figures(shape: Shape, roles: str, layout: Layout, device: Device) -> Iterator[str]:
    """Of one row: gigabytes, whether they fit, seconds and gigabytes moved."""
    rows = UPDATE.episodes // (layout.data * layout.pipeline)
    numbers = Numbers(RANK, 2, False, LEARN_TOKENS, True, 1.0, rows, UPDATE.length)
    found = held(shape, ROLES[roles], numbers, layout)
    step = replace(found, loading=0.0).peak
    while_loading = found.weights + found.adapters + found.loading
    yield from (f"{size / 1e9:.1f}" for size in (found.kept, step, while_loading))
    yield "yes" if found.peak <= ROOM * device.memory else "no"
    parts = phases(Step(shape, ROLES[roles], numbers, UPDATE, layout)).values()
    yield from (f"{phase.seconds(device, layout):.1f}" for phase in parts)
    yield f"{sum(phase.moved + phase.moved_in_layers for phase in parts) / 1e9:,.0f}"


def checks() -> Iterator[Checked]:
    """Cases of docs/memory.md, measured there and counted here."""
    page = (DOCS / "memory.md").read_text("utf-8")
    measured = {
        name: max(map(float, peaks.split(", ")))
        for name, peaks in re.findall(r"^\| ([^|]+) \| ([\d., ]+) \|$", page, re.M)
        if name in CASES
    }
    for name, peak in measured.items():
        alone = one_process(name)
        model = outline(LlamaConfig(**CONFIG), torch.bfloat16 if BFLOAT16 in CASES[name].changes else torch.float32)
        from_one = None if alone == name else predicted_peak(name, model, measured[alone])
        yield Checked(name, peak, predicted_peak(name, model), from_one)


def one_process(name: str) -> str:
    """The case that does in one process what this one does."""
    changes = [change for change in CASES[name].changes if change != SHARDED]
    return next(other for other, case in CASES.items() if case == Case(changes))


def predicted_peak(name: str, model: PreTrainedModel, alone: float = float("inf")) -> float:
    """GB, of a case of benchmarks/processes/memory.py, by count alone or from what one process was measured to take."""
    case = CASES[name]
    given = {key: yaml.safe_load(value) for key, _, value in (change.partition("=") for change in case.changes)}
    recipe = with_changes(Recipe.model_validate(yaml.safe_load(RECIPE)), given)
    (stage,) = recipe.stages
    rows = case.processes // case.tensor // case.pipeline
    layout = Layout(rows, case.tensor, recipe.compute.shard and case.processes > 1, case.pipeline)
    usage = {stage: Usage(alone * 1e9, 0.0, 0.0)}
    measured = Measured(recipe, model, usage, MEASURED_TOKENS)
    return launch_of(measured, layout).peaks[stage] / 1e9


def check_rows() -> Iterator[tuple[str, ...]]:
    """With errors as shares of what was measured."""
    for one in checks():
        yield one.name, f"{one.measured:.2f}", *_beside(one.counted, one), *_beside(one.from_one, one)


def seconds_rows() -> Iterator[tuple[str, ...]]:
    """Steps that docs/processes.md has measured, and what is predicted from those of one process."""
    recipe = Recipe.model_validate(yaml.safe_load(TIMED_RECIPE.format(updates=UPDATES)))
    page = (DOCS / "processes.md").read_text("utf-8")
    two = r" \| ([\d.]+) \([\d.]+\)"
    found = re.findall(rf"^\| (an? [^|]+) \| ([\d.]+){two * len(TIMED_LAYOUTS)} \|$", page, re.M)
    model = outline(LlamaConfig(**llama_shape(**TIMED_SHAPE)))
    for (name, one, *each), stage in zip(found, recipe.stages, strict=True):
        usages = {stage: Usage(0.0, 0.0, float(one), steps=1)}
        share = Share(usages, 1.0, TIMED_LINKS)
        measured = Measured(recipe, model, usages, {stage: TIMED_TOKENS[stage]}, {2: share})
        for layout, taken in zip(TIMED_LAYOUTS, each, strict=True):
            predicted = launch_of(measured, layout).seconds
            where = f"{name}, `{layout.options}`"
            yield where, one, taken, f"{predicted:.2f}", f"{predicted / float(taken) - 1:+.0%}"


def _beside(found: float | None, one: Checked) -> tuple[str, str]:
    return ("", "") if found is None else (f"{found:.2f}", f"{found / one.measured - 1:+.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=DOCS / "layouts.md")
    parser.add_argument("--device", choices=DEVICES, default="H100 SXM")
    given = parser.parse_args()
    head = ("model", "roles", "launch", "kept", "peak", "while loading", "fits")
    counted = table((*head, "sampling, s", "scoring, s", "learning, s", "moved, GB"), estimates(DEVICES[given.device]))
    beside = table(("what", "measured, GB", "by count", "off by", "as the doctor does", "off by"), check_rows())
    seconds = table(("what", "one process, s", "each of two, s", "as predicted", "off by"), seconds_rows())
    given.page.write_text(
        "\n\n".join([introduction(given.device), counted, READING, CHECK, beside, SECONDS, seconds]) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
