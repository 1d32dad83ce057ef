"""One optimiser step of TRL's own trainers for every case but PPO's; their loss and gradients to disk.

    python peer_trl.py MATERIAL OUT        (in an environment with TRL 1.16, benchmarks/ on its PYTHONPATH)

The trainers run as a user runs them: raw rows in, `train()` called. A callback reads the gradients just before the
optimiser would step, and what `training_step` returns is summed over the micro-batches: that is the loss of the step.
"""

import json
import sys
from functools import partial
from pathlib import Path

import torch
from cases import BETA, CASES, GAMMA, ODDS, SIMPO_BETA, UNDESIRABLE, Case
from datasets import Dataset, disable_progress_bars
from harness.trainers import PLAIN
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
)
from trl import (
    DPOConfig,
    DPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer


class GradientReader(TrainerCallback):
    """Keeps the gradients of the one optimiser step."""

    gradients: dict[str, torch.Tensor]

    def on_pre_optimizer_step(self, args, state, control, model: PreTrainedModel, **_) -> None:
        """Called by the trainer between backward and step."""
        named = ((name, weight.grad) for name, weight in model.named_parameters())
        self.gradients = {name: gradient.clone() for name, gradient in named if gradient is not None}


def measure(case: Case, material: Path, scratch: Path) -> tuple[dict[str, torch.Tensor], list[list[list[int]]]]:
    """Loss and gradients of the case, and the token rows of each micro-batch in order."""
    trainer = build(case, material, scratch)
    reader, losses, micro_batches = GradientReader(), [], []
    trainer.add_callback(reader)
    step = trainer.training_step

    def recorded(model, inputs, *args, **kwargs):
        side = "" if "input_ids" in inputs else "chosen_"
        counts = inputs[f"{side}attention_mask"].sum(1).tolist()
        micro_batches.append([row[:n] for row, n in zip(inputs[f"{side}input_ids"].tolist(), counts, strict=True)])
        losses.append(step(model, inputs, *args, **kwargs))
        return losses[-1]

    trainer.training_step = recorded
    trainer.train()
    return {"loss": torch.stack(losses).sum()} | reader.gradients, micro_batches


def build(case: Case, material: Path, scratch: Path) -> Trainer:
    """The trainer, with everything off that would change a plain loss: clipping, mixed precision, checkpointing."""
    common = {
        "output_dir": str(scratch),
        "per_device_train_batch_size": case.micro,
        "gradient_accumulation_steps": -(-case.rows // case.micro),
        "max_steps": 1,
        "max_grad_norm": 0.0,
        "max_length": None,
        **PLAIN,
    }
    tokenizer = AutoTokenizer.from_pretrained(material / "base")
    if case.stage == "sft":
        rows = load_rows(material / "demonstrations.json", case.rows)
        return SFTTrainer(
            causal(material / "base"), SFTConfig(**common), train_dataset=rows, processing_class=tokenizer
        )
    if case.stage == "kto":
        return KTOTrainer(
            causal(material / "base"),
            causal(material / "reference"),
            KTOConfig(beta=BETA, undesirable_weight=UNDESIRABLE, **common),
            train_dataset=load_rows(material / "ratings.json", case.rows),
            processing_class=tokenizer,
        )
    rows = load_rows(material / "preferences.json", case.rows)
    if not case.margin:
        rows = rows.remove_columns("margin")
    if case.stage == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(material / "reward", dtype=torch.float32)
        return RewardTrainer(model, RewardConfig(**common), train_dataset=rows, processing_class=tokenizer)
    if case.stage in ("simpo", "orpo"):
        own = common | {"remove_unused_columns": False}
        trainer, settings = {
            "simpo": (
                CPOTrainer,
                partial(CPOConfig, loss_type="simpo", cpo_alpha=0.0, beta=SIMPO_BETA, simpo_gamma=GAMMA),
            ),
            "orpo": (ORPOTrainer, partial(ORPOConfig, beta=ODDS)),
        }[case.stage]
        return trainer(causal(material / "base"), settings(**own), train_dataset=rows, processing_class=tokenizer)
    losses = [case.loss_type, "sft"] if case.sft else [case.loss_type]
    weights = [1.0, case.sft] if case.sft else None
    return DPOTrainer(
        causal(material / "base"),
        causal(material / "reference"),
        DPOConfig(beta=BETA, loss_type=losses, loss_weights=weights, label_smoothing=case.smoothing, **common),
        train_dataset=rows,
        processing_class=tokenizer,
    )


def causal(path: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def load_rows(path: Path, count: int) -> Dataset:
    return Dataset.from_list(json.loads(path.read_text(encoding="utf-8"))[:count])


def main() -> None:
    """Every case, in files named after it."""
    disable_progress_bars()
    material, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        tensors, micro_batches = measure(case, material, out / "scratch")
        save_file(tensors, out / f"{case.name}.safetensors")
        (out / f"{case.name}.json").write_text(json.dumps(micro_batches), encoding="utf-8")
        print(f"{case.name}: {tensors['loss']:.6f}", flush=True)


if __name__ == "__main__":
    main()
