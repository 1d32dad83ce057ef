"""One update of TRL's own GRPO and RLOO trainers for every case, with what its loss was given, to disk.

    python peer_groups.py MATERIAL OUT        (in an environment with TRL 1.16, benchmarks/ on its PYTHONPATH)

`train()` runs as it is; a callback reads weights and gradients just before each optimiser step.
"""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset, disable_progress_bars
from group_cases import BETA, GROUP, GROUP_CASES, LENGTH, RATE, RESPONSES, STEPS, GroupCase, reward
from harness.trainers import PLAIN
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

KEPT = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages")


class StepReader(TrainerCallback):
    """Keeps weights and gradients of each optimiser step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args, state, control, model: PreTrainedModel, **_) -> None:
        """Called by the trainer between backward and step."""
        named = list(model.named_parameters())
        self.steps.append(
            {f"weight.{name}": weight.detach().clone() for name, weight in named}
            | {name: weight.grad.clone() for name, weight in named if weight.grad is not None}
        )


def measure(case: GroupCase, material: Path, scratch: Path) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """What the loss was given, and the steps with their loss."""
    trainer, reader, losses, given = build(case, material, scratch), StepReader(), [], {}
    trainer.add_callback(reader)
    compute = trainer._compute_loss

    def recorded(model, inputs):
        given.update({name: inputs[name].clone() for name in KEPT})
        loss = compute(model, inputs)
        losses.append(loss.detach())
        return loss

    trainer._compute_loss = recorded
    trainer.train()
    return given, [step | {"loss": loss} for step, loss in zip(reader.steps, losses, strict=True)]


def build(case: GroupCase, material: Path, scratch: Path) -> GRPOTrainer | RLOOTrainer:
    """The trainer, with everything off that would change a plain loss."""
    trainer, config = (GRPOTrainer, GRPOConfig) if case.stage == "grpo" else (RLOOTrainer, RLOOConfig)
    common = {
        "output_dir": str(scratch),
        "per_device_train_batch_size": RESPONSES,
        "num_generations": GROUP,
        "num_iterations": STEPS,
        "max_completion_length": LENGTH,
        "max_steps": STEPS,
        "max_grad_norm": 0.0,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "beta": BETA,
        "temperature": 1.0,
        "seed": 5,
        **PLAIN,
    }
    rows = json.loads((material / "preferences.json").read_text(encoding="utf-8"))
    prompts = Dataset.from_list([{"prompt": row["prompt"]} for row in rows])
    tokenizer = AutoTokenizer.from_pretrained(material / "base")
    model = AutoModelForCausalLM.from_pretrained(material / "reference", dtype=torch.float32)
    return trainer(
        model,
        reward_funcs=scored,
        args=config(**common | case.theirs),
        train_dataset=prompts,
        processing_class=tokenizer,
    )


def scored(completions: list[str], **_) -> list[float]:
    return [reward(text) for text in completions]


def main() -> None:
    """Every case, in files named after it."""
    disable_progress_bars()
    material, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for case in GROUP_CASES:
        given, steps = measure(case, material, out / "scratch")
        save_file({name: tensor.contiguous() for name, tensor in given.items()}, out / f"{case.name}.safetensors")
        for number, step in enumerate(steps):
            save_file(step, out / f"{case.name}-step-{number}.safetensors")
        print(f"{case.name}: {[round(float(step['loss']), 6) for step in steps]}", flush=True)


if __name__ == "__main__":
    main()
