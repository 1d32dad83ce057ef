"""One update of TRL's own PPO trainer for every case, with what it computed on the way, to disk.

    python peer_ppo.py MATERIAL OUT        (in an environment with TRL 1.12, benchmarks/ on its PYTHONPATH)

`train()` runs as it is. Its loss stands inline in that method, so the functions it calls by name are replaced by
ones that call the original and keep arguments and result, and so are the accelerator's `backward` and the
optimiser's `step`.
"""

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from cases import PPO, PPO_CASES, PpoCase
from datasets import Dataset
from harness.trainers import PLAIN
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

SEED = 3
"""With it, some responses stop early and none holds a sampled pad, which TRL would take for the end."""


@dataclass
class Step:
    """What one optimiser step saw."""

    weights: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]
    losses: list[float]
    rows: list[list[list[int]]]
    """Token rows of each micro-batch"""


@dataclass
class Recording:
    """What one `train()` computed."""

    calls: dict[str, list[tuple[tuple, Any]]] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


def record(trainer: PPOTrainer) -> Recording:
    """Trains, and returns what was seen."""
    kept = Recording()
    names = ("batch_generation", "selective_log_softmax", "get_reward", "masked_whiten", "forward")
    optimiser, accelerator = trainer.optimizer.optimizer, trainer.accelerator
    step, backward = optimiser.step, accelerator.backward

    def recorded_step(*args, **kwargs):
        kept.steps.append(seen(trainer, kept))
        return step(*args, **kwargs)

    def recorded_backward(loss, **kwargs):
        kept.losses.append(loss.item())
        return backward(loss, **kwargs)

    with ExitStack() as stack:
        for name in names:
            stack.enter_context(patch.object(ppo_trainer, name, spy(getattr(ppo_trainer, name), kept, name)))
        stack.enter_context(patch.object(optimiser, "step", recorded_step))
        stack.enter_context(patch.object(accelerator, "backward", recorded_backward))
        stack.enter_context(patch.object(trainer, "log", kept.metrics.update))
        trainer.train()
    return kept


def spy(original: Callable, kept: Recording, name: str) -> Callable:
    """The function, with arguments and result kept."""

    def wrapper(*args, **kwargs):
        result = original(*args, **kwargs)
        kept.calls.setdefault(name, []).append((args, result))
        return result

    return wrapper


def seen(trainer: PPOTrainer, kept: Recording) -> Step:
    """Weights and gradients before the step, and the micro-batches since the last one."""
    named = dict(trainer.model.named_parameters())
    before = sum(len(step.losses) for step in kept.steps)
    forwards = [args[1].tolist() for args, _ in kept.calls["forward"] if args[0] is trainer.model]
    return Step(
        {name: weight.detach().clone() for name, weight in named.items()},
        {name: weight.grad.clone() for name, weight in named.items() if weight.grad is not None},
        kept.losses[before:],
        forwards[before:],
    )


def build(
    material: Path,
    scratch: Path,
    stops: bool = True,
    micro: int = PPO["responses"],
    minibatches: int = 1,
    whiten_rewards: bool = False,
    prompts: int = 2 * PPO["responses"],
    pad_is_eos: bool = False,
) -> PPOTrainer:
    """The trainer over so many prompts, for one update."""
    tokenizer = AutoTokenizer.from_pretrained(material / "base", padding_side="left")
    if pad_is_eos:
        tokenizer.pad_token = tokenizer.eos_token
    texts = json.loads((material / "prompts.json").read_text(encoding="utf-8"))
    config = PPOConfig(
        output_dir=str(scratch),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=PPO["responses"] // micro,
        num_mini_batches=minibatches,
        num_ppo_epochs=PPO["epochs"],
        total_episodes=PPO["responses"],
        response_length=PPO["length"],
        stop_token="eos" if stops else None,
        temperature=PPO["temperature"],
        missing_eos_penalty=PPO["missing_eos_penalty"],
        kl_coef=PPO["kl_coef"],
        cliprange=PPO["clip_range"],
        cliprange_value=PPO["value_clip_range"],
        vf_coef=PPO["value_coefficient"],
        gamma=PPO["gamma"],
        lam=PPO["gae_lambda"],
        learning_rate=PPO["learning_rate"],
        whiten_rewards=whiten_rewards,
        seed=SEED,
        max_grad_norm=1.0,
        num_sample_generations=0,
        **PLAIN,
    )
    np.random.seed(0)  # the trainer shuffles its micro-batches with numpy and does not seed it
    kinds = {"reward": AutoModelForSequenceClassification, "critic": AutoModelForSequenceClassification}
    models = {
        name: kinds.get(name, AutoModelForCausalLM).from_pretrained(material / name, dtype=torch.float32)
        for name in ("base", "reference", "reward", "critic")
    }
    return PPOTrainer(
        config,
        tokenizer,
        models["base"],
        models["reference"],
        models["reward"],
        Dataset.from_list([{"input_ids": tokenizer(text)["input_ids"]} for text in (2 * texts)[:prompts]]),
        models["critic"],
    )


def save_case(case: PpoCase, trainer: PPOTrainer, out: Path) -> None:
    """The rollout, the raw advantages, and every optimiser step."""
    kept = record(trainer)
    tokens = kept.calls["batch_generation"][0][1][0]
    context = tokens.shape[1] - PPO["length"]
    pad = trainer.processing_class.pad_token_id
    stopped_at = [[*row[context:].tolist(), pad].index(pad) for row in tokens]
    if any((row[context + end :] != pad).any() for row, end in zip(tokens, stopped_at, strict=True)):
        raise SystemExit(f"{case.name}: a pad was sampled; choose another seed")
    logprobs, ref_logprobs = (result for _, result in kept.calls["selective_log_softmax"][:2])
    (_, critic), (_, reward) = kept.calls["get_reward"][:2]
    (advantages, mask), _ = kept.calls["masked_whiten"][-1]
    rollout = {
        "tokens": tokens,
        "context": torch.tensor(context),
        "logprobs": logprobs,
        "ref_logprobs": ref_logprobs,
        "values": critic[0][:, context - 1 : -1, 0],
        "scores": reward[1],
        "advantages": advantages,
        "mask": mask,
    }
    save_file({name: tensor.contiguous() for name, tensor in rollout.items()}, out / f"{case.name}.safetensors")
    for number, step in enumerate(kept.steps, start=1):
        weights = {f"weight.{name}": tensor for name, tensor in step.weights.items()}
        loss = {"loss": torch.tensor(step.losses).mean()}
        save_file(loss | step.gradients | weights, out / f"{case.name}-step-{number}.safetensors")
    facts = {"metrics": kept.metrics, "micro_batches": [step.rows for step in kept.steps]}
    (out / f"{case.name}.json").write_text(json.dumps(facts), encoding="utf-8")
    print(f"{case.name}: {len(kept.steps)} steps, responses of {stopped_at} tokens", flush=True)


def counted_steps(material: Path, scratch: Path) -> list[dict[str, int]]:
    """Optimiser steps of one update, for several ways to cut it."""
    settings = [
        {"micro": micro, "minibatches": minibatches, "prompts": prompts}
        for prompts in (2 * PPO["responses"], PPO["responses"])
        for micro, minibatches in ((8, 1), (8, 2), (4, 1), (4, 2), (2, 1), (2, 2))
    ]
    return [setting | {"steps": len(record(build(material, scratch, **setting)).steps)} for setting in settings]


def eos_as_pad(material: Path, scratch: Path) -> dict[str, int]:
    """How many sampled eos there are, and how many of them the policy loss counts, when pad is eos."""
    trainer = build(material, scratch, pad_is_eos=True)
    kept = record(trainer)
    responses = kept.calls["batch_generation"][0][1][0][:, -PPO["length"] :]
    mask = kept.calls["masked_whiten"][-1][0][1]
    eos = responses == trainer.processing_class.eos_token_id
    return {"sampled": int(eos.any(1).sum()), "counted": int((eos & mask).sum())}


def main() -> None:
    """Every case, and the defects that are counted rather than compared."""
    material, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    scratch = out / "scratch"
    for case in PPO_CASES:
        save_case(case, build(material, scratch, case.stops, case.micro, 1, case.whiten_rewards), out)
    counted = {"steps": counted_steps(material, scratch), "eos_as_pad": eos_as_pad(material, scratch)}
    (out / "counted.json").write_text(json.dumps(counted, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
