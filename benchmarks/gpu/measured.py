"""What is measured on a device, one function a figure."""

import hashlib
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from gpu.subjects import EOS_TOKEN, PAD_TOKEN, Subject, base_of
from torch.profiler import ProfilerActivity, profile
from transformers import GenerationConfig, PreTrainedConfig

from truing.config.recipe import Recipe
from truing.core.batches import Sequences
from truing.core.errors import InterruptedRunError
from truing.core.experience import Rollout
from truing.core.rows import TokenRows
from truing.data.batching import plan_by_tokens
from truing.estimate.work import Case, phases
from truing.estimate.work import Update as Sizes
from truing.functional import kl_exact
from truing.kernels.backend import Backend
from truing.kernels.packed_rows import hidden_causal
from truing.kernels.precision import Precision
from truing.models.device import device_of
from truing.models.scoring import response_hidden, response_logprobs
from truing.pipeline.execute import run_pipeline
from truing.preflight.held_by_recipe import models_of
from truing.preflight.layouts import ONE_PROCESS, held
from truing.rollout.episodes import respond
from truing.runs.interruption import Interruption
from truing.runs.progress import Figures, SilentProgress
from truing.stages.objective import Scored
from truing.stages.sft import completion_loss
from truing.stages.update import learn
from truing.training.learner import Learner, Trained

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
"""What the host calls to wait for a device"""
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cudaGraphLaunch", "cuLaunchKernel", "cuLaunchKernelEx")
"""What it calls to have a device do something"""
OF_PROFILER = 1
"""Waits that the profiler adds as it ends"""
BUFFER, SIDE, LAPS, IN_A_ROW = 2**30, 8192, 5, 10
"""Bytes that are copied, rows of a square product, how often the best is looked for, and calls behind each other"""
ADAPTER_PASSES = 4
"""Operations of a weight and token in forward and backward through a frozen base"""
SCORED = 2
"""Roles that are asked about responses: reference and critic, for the reward here asks no model"""


def seconds(device: torch.device, action: Callable[[], Any]) -> float:
    """Of an action and all that the device was told of in it."""
    wait = torch.cuda.synchronize if device.type == "cuda" else nullcontext
    wait()
    begun = time.perf_counter()
    action()
    wait()
    return time.perf_counter() - begun


def ceilings(device: torch.device, tiny: bool) -> dict[str, float]:
    """The best rates of a copy, bytes a second read and written, and of a product in bfloat16, operations a second."""
    size, side = (2**20, 128) if tiny else (BUFFER, SIDE)
    source, target = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))
    square = torch.randn(side, side, device=device).bfloat16()  # of like numbers a GPU needs less power, and is faster
    copy, product = (_best(device, action) for action in (lambda: target.copy_(source), lambda: square @ square))
    return {"bandwidth": 2 * size / copy, "operations": 2 * side**3 / product}


def _best(device: torch.device, action: Callable[[], Any]) -> float:
    """Seconds of one of several in a row, behind as many that warm up."""

    def all_of_them() -> None:
        for _ in range(IN_A_ROW):
            action()

    all_of_them()
    return min(seconds(device, all_of_them) for _ in range(LAPS)) / IN_A_ROW


@torch.no_grad()
def agreement(config: PreTrainedConfig, device: torch.device, rows: int = 8, length: int = 64) -> dict[str, float]:
    """Of the same weights: log-probabilities in float32 beside the CPU's, and the KL of bfloat16 to float32."""
    single = base_of(config, torch.device("cpu"), Precision())
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(2, int(config.vocab_size), (rows, length), generator=generator)  # type: ignore[attr-defined]
    texts = Sequences.collate(tokens[:, : length // 2].tolist(), tokens[:, length // 2 :].tolist(), pad=0)
    expected = response_logprobs(single.role(), texts)
    logits = single.role().logits(response_hidden(single.role(), texts))
    state = single.model.state_dict()
    found = {}
    for name, precision in (("float32", Precision()), ("bfloat16", Precision(torch.bfloat16, torch.bfloat16))):
        there = base_of(config, device, precision)
        there.model.load_state_dict(state)
        role, moved = there.role(), texts.to(device)
        if name == "float32":
            found["float32_difference"] = float((response_logprobs(role, moved).cpu() - expected).abs().max())
        else:
            own = role.logits(response_hidden(role, moved)).cpu()
            found["bfloat16_kl"] = float(kl_exact(logits, own).mean())
    return found


def sampling(subject: Subject, device: torch.device) -> dict[str, float]:
    """Tokens a second: our sampler, and `generate` of the library on the same model and adapter, rows and lengths."""
    roles, recipe, prompts = subject.roles, subject.recipe, subject.prompts.train
    short = recipe.model_copy(update={"rollout": recipe.rollout.model_copy(update={"max_new_tokens": 2})})
    rows = min(len(prompts), recipe.compute.rollout_rows or len(prompts))
    with subject.update() as update, torch.no_grad():
        respond(update.rollouts.engine, prompts, short, roles.base, "warm-up")
        said: list[Any] = []
        ours = seconds(
            device, lambda: said.append(respond(update.rollouts.engine, prompts, recipe, roles.base, "rollout"))
        )
        tokens = torch.tensor([prompt.tokens for prompt in prompts[:rows]], device=device)
        mask = torch.ones_like(tokens)

        def generate(count: int) -> None:
            settings = GenerationConfig(
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=True,
                top_k=0,
                top_p=1.0,
                pad_token_id=0,
                use_cache=True,
            )
            roles.policy.select()
            roles.base.model.generate(tokens, attention_mask=mask, generation_config=settings)

        generate(2)
        theirs = seconds(device, lambda: generate(subject.work.response_tokens))
    counted = float(said[0].sequences.response_lengths.sum())
    return {"rollout_rate": counted / ours, "generate_rate": rows * subject.work.response_tokens / theirs, "rows": rows}


def updating(subject: Subject, device: torch.device, ceiling: Mapping[str, float]) -> dict[str, float]:
    """Seconds of an update and of its parts, the least each could take where the ceilings are known, and the peak of
    memory beside the count.
    """
    work = subject.work
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    with subject.update() as update:
        update.run(1, 0.05)
        metrics: dict[str, Any] = {}
        found = {"update_s": seconds(device, lambda: metrics.update(update.run(2, 0.05)))}
    metrics["learn_s"] = found["update_s"] - metrics["rollout_s"] - metrics["score_s"]  # the device may be behind
    found |= {f"{name}_s": metrics[f"{name}_s"] for name in ("rollout", "score", "learn")}
    found["ratio_max_deviation"] = metrics["ratio_max_deviation"]
    found["counted_peak"] = held(subject.shape, models_of(subject.recipe, "ppo"), subject.numbers, ONE_PROCESS).peak
    if device.type == "cuda":
        found["peak"] = float(torch.cuda.max_memory_reserved(device))
    sizes = Sizes(work.episodes, work.prompt_tokens, work.response_tokens, work.epochs, work.minibatches, SCORED)
    return found | (_of_ceilings(subject, sizes, found, ceiling) if ceiling else {})


def _of_ceilings(
    subject: Subject, sizes: Sizes, found: Mapping[str, float], ceiling: Mapping[str, float]
) -> dict[str, float]:
    """The least time of each part over what it took, and of learning the products alone."""
    shape, models = subject.shape, models_of(subject.recipe, "ppo")
    shares = {
        f"{name}_share": max(phase.operations / ceiling["operations"], phase.read / ceiling["bandwidth"])
        / found[f"{name}_s"]
        for name, phase in phases(Case(shape, models, subject.numbers, sizes, ONE_PROCESS)).items()
    }
    passes = sizes.tokens * sizes.epochs * len(("policy", "critic"))
    operations = ADAPTER_PASSES * shape.layers * shape.products * passes
    return shares | {"learn_mfu": operations / found["learn_s"] / ceiling["operations"]}


def ways(subject: Subject) -> dict[str, str]:
    """By what a model is computed: what would be slow unseen."""
    backend = subject.roles.policy.backend
    kept = getattr(backend.decoding, "keeps_graphs", None)
    graphs = {None: "", True: ", keeps graphs", False: ", **keeps no graphs**"}[kept]
    decoding = getattr(backend.decoding, "__name__", type(backend.decoding).__name__)
    told = {"learns_by": backend.hidden.__name__, "samples_by": decoding + graphs}
    return told | {"notes": " ".join(subject.roles.base.notes) or "none"}


def padding(subject: Subject, device: torch.device) -> dict[str, float]:
    """Seconds of learning with padded rows over those of the way that is chosen."""
    policy, recipe, work = subject.roles.policy, subject.recipe, subject.work
    lengths = torch.linspace(work.response_tokens // 8, work.response_tokens, work.episodes).int().tolist()
    rows = TokenRows([(EOS_TOKEN,)] * work.episodes, [(EOS_TOKEN,) * length for length in lengths], PAD_TOKEN)

    def taken(backend: Backend) -> float:
        role = replace(policy, backend=backend)
        learner = Learner([Trained("policy", role, 1e-5)], recipe.ppo.optimiser, 1, recipe.compute.learn_tokens or 1)
        learner.forward_backward(rows, lambda batch: completion_loss(role, batch))
        return seconds(device, lambda: learner.forward_backward(rows, lambda batch: completion_loss(role, batch)))

    padded = replace(policy.backend, hidden=hidden_causal, micro_batches=plan_by_tokens)
    return {"packing": taken(padded) / taken(policy.backend)}


def determinism(subject: Subject, device: torch.device) -> dict[str, float]:
    """Times the seconds of an update with operations that give the same bits each time."""
    compute, taken = subject.recipe.compute, []
    with subject.update() as update:
        for deterministic in (False, True):
            device_of(compute.model_copy(update={"deterministic": deterministic}))
            update.run(1, 0.05)
            taken.append(seconds(device, lambda: update.run(2, 0.05)))
    device_of(compute)
    return {"deterministic_cost": taken[1] / taken[0]}


def waiting(subject: Subject) -> dict[str, float]:
    """How often the host waits for the device: a token step of sampling, and a micro-batch of learning."""
    recipe, prompts = subject.recipe, subject.prompts.train[: subject.recipe.compute.rollout_rows]
    with subject.update() as update:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen, torch.no_grad():
            rollout = respond(update.rollouts.engine, prompts, recipe, subject.roles.base, "rollout")
        sampled = _waits(seen) / subject.work.response_tokens
        mask = rollout.sequences.response_mask
        scored = _made_up(rollout, mask)
        objective = replace(update.objective, settings=recipe.ppo.model_copy(update={"minibatches": 1, "epochs": 1}))
        experience = objective.experience(scored, 0.05)
        budget = subject.numbers.learn_tokens
        learner = Learner(objective.trained, recipe.ppo.optimiser, 100, budget)
        micro_batches = len(subject.roles.policy.micro_batches(experience.token_counts, budget))
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            learn(experience, objective, learner, recipe.seed, 1)
        learnt = _waits(seen) / (2 * micro_batches)
    return {"waits_a_token": sampled, "waits_a_micro_batch": learnt}


def _made_up(rollout: Rollout, mask: torch.Tensor) -> Scored:
    """As if all had been scored, at no cost."""
    nothing = torch.zeros_like(rollout.logprobs)
    scores = torch.linspace(-1, 1, len(mask), device=mask.device)
    return Scored(rollout, scores, scores, rollout.logprobs, nothing, nothing, nothing)


def _waits(seen: Any) -> int:
    """How often the host waited, of its own accord.

    Raises:
        RuntimeError: the profiler saw nothing of CUDA, so that no wait says nothing.
    """
    counts = {event.key: event.count for event in seen.key_averages()}
    if torch.cuda.is_available() and not any(counts.get(name) for name in LAUNCHES):
        raise RuntimeError("the profiler saw no launch on the GPU: is CUPTI there?")
    return max(0, sum(counts.get(name, 0) for name in WAITS) - OF_PROFILER)


class _Stops(SilentProgress):
    """Asks a run to end at the first update of its policy."""

    def __init__(self, stop: Interruption) -> None:
        self._stop, self._name = stop, ""

    def stage(self, name: str, total: int, done: int = 0) -> Any:
        """A stage that is watched."""
        self._name = name
        return super().stage(name, total, done)

    def advance(self, step: int, figures: Figures) -> None:
        """A step is done."""
        if self._name == "ppo" and step == 1:
            self._stop.signal_number = signal.SIGTERM


def resuming(device: str, place: Path) -> dict[str, float]:
    """Whether a deterministic run that is stopped and goes on ends with the bytes of one that was not."""
    stop = Interruption()
    for name in ("whole", "stopped"):
        if name == "stopped":
            with suppress(InterruptedRunError):
                run_pipeline(_small_run(device), place / name, _Stops(stop), stop)
        run_pipeline(_small_run(device), place / name, SilentProgress())
    return {"resumes_exactly": float(_digests(place / "whole") == _digests(place / "stopped"))}


def _small_run(device: str) -> Recipe:
    return Recipe.model_validate(
        {
            "world": {"demonstrations": 200, "preferences": 100, "prompts": 60},
            "on_unsound_reward": "go_on",
            "ppo": {"updates": 2, "episodes": 16, "epochs": 1, "minibatches": 2},
            "rollout": {"max_new_tokens": 8},
            "evaluation": {"prompts": 8},
            "rewards": {"normalisation_samples": 8},
            "compute": {"device": device, "deterministic": True},
        }
    )


def _digests(root: Path) -> dict[str, str]:
    """SHA-256 of every weight that a run has left."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.safetensors"))
    }
