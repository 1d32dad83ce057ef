"""Optimiser steps of TRL's SFT, reward and DPO trainers (in an environment with TRL 1.16): `train()` runs as it is."""

import tempfile
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from harness.child import Stopwatch, report, work
from harness.trainers import PLAIN
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
)
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

MICRO = 8
"""Rows or pairs in a micro-batch: TRL's default"""
KINDS = {"sft": (SFTTrainer, SFTConfig), "reward": (RewardTrainer, RewardConfig), "dpo": (DPOTrainer, DPOConfig)}


class Timer(TrainerCallback):
    """Starts the watch when the first step is done, and stops it with the last."""

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after every optimiser step."""
        if state.global_step == 1:
            self.watch.start()
        if state.global_step == state.max_steps:
            self.watch.lap("steps")


def build(told: dict[str, Any], scratch: str) -> Trainer:
    """The trainer, with adapters of the same rank on the same layers, and rows in the order given."""
    trainer, config = KINDS[told["stage"]]
    settings = config(
        output_dir=scratch,
        per_device_train_batch_size=min(MICRO, told["batch"]),
        gradient_accumulation_steps=-(-told["batch"] // MICRO),
        max_steps=told["steps"] + 1,
        train_sampling_strategy="sequential",
        max_length=None,
        **PLAIN,
    )
    reward = told["stage"] == "reward"
    if reward:
        model = AutoModelForSequenceClassification.from_pretrained(told["model"], num_labels=1, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(told["model"], dtype=torch.float32)
    adapters = LoraConfig(
        task_type="SEQ_CLS" if reward else "CAUSAL_LM",
        r=told["rank"],
        lora_alpha=2 * told["rank"],
        target_modules="all-linear",
        modules_to_save=["score"] if reward else None,
    )
    return trainer(
        model,
        args=settings,
        train_dataset=Dataset.from_list(told["rows"]),
        processing_class=AutoTokenizer.from_pretrained(told["model"]),
        peft_config=adapters,
    )


def main() -> None:
    """One step, then as many as are told."""
    disable_progress_bars()
    told, watch, tokens = work(), Stopwatch(), []
    with tempfile.TemporaryDirectory() as scratch:
        trainer = build(told, scratch)
        step = trainer.training_step

        def counted(model: Any, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> torch.Tensor:
            tokens.append(int(inputs["attention_mask"].sum()))
            return step(model, inputs, *args, **kwargs)

        trainer.training_step = counted
        trainer.add_callback(Timer(watch))
        trainer.train()
    parts = len(tokens) // (told["steps"] + 1)
    report(told, watch.seconds, tokens=[sum(tokens[i : i + parts]) for i in range(0, len(tokens), parts)])


if __name__ == "__main__":
    main()
