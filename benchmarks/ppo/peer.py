"""PPO updates by TRL's own trainer (in an environment with TRL 1.12): `train()` runs as it is.

The phases are told apart by functions that it calls by name: `batch_generation` is the rollout, the last
`masked_whiten` ends the scoring, and `log` ends the update.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from harness.child import Stopwatch, report, work
from harness.trainers import PLAIN
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


def build(told: dict[str, Any], scratch: str) -> PPOTrainer:
    """The trainer on four full models, or with a `rank` on three: policy and reference are one then."""
    adapters, episodes = told["rank"] is not None, len(told["prompts"])
    config = PPOConfig(
        output_dir=scratch,
        per_device_train_batch_size=episodes,
        gradient_accumulation_steps=1,
        num_mini_batches=told["minibatches"],
        num_ppo_epochs=told["epochs"],
        total_episodes=told["repeats"] * episodes,
        response_length=max(told["lengths"]),
        temperature=1.0,
        learning_rate=1e-4,
        num_sample_generations=0,
        **PLAIN,
    )
    causal, scored = AutoModelForCausalLM.from_pretrained, AutoModelForSequenceClassification.from_pretrained
    model, reward = told["model"], Path(told["reward"]) / "model"
    return PPOTrainer(
        config,
        AutoTokenizer.from_pretrained(model, padding_side="left"),
        causal(model, dtype=torch.float32),
        None if adapters else causal(model, dtype=torch.float32),
        scored(reward, dtype=torch.float32),
        Dataset.from_list([{"input_ids": prompt} for prompt in told["prompts"]]),
        scored(reward, dtype=torch.float32),
        peft_config=LoraConfig(r=told["rank"], lora_alpha=2 * told["rank"], target_modules="all-linear")
        if adapters
        else None,
    )


def warm_up(trainer: PPOTrainer) -> None:
    """An update of everything, but short: two tokens, one epoch."""
    told = trainer.args.response_length, trainer.args.num_ppo_epochs, trainer.args.num_total_batches
    trainer.args.response_length, trainer.args.num_ppo_epochs, trainer.args.num_total_batches = 2, 1, 1
    trainer.train()
    trainer.args.response_length, trainer.args.num_ppo_epochs, trainer.args.num_total_batches = told


def after(function: Callable[..., Any], action: Callable[[], None]) -> Callable[..., Any]:
    """The function, followed by the action."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        action()
        return result

    return wrapper


def measure(trainer: PPOTrainer, watch: Stopwatch) -> int:
    """Trains with the watch running; how many steps the optimiser took."""
    generate, optimiser, steps = ppo_trainer.batch_generation, trainer.optimizer.optimizer, []

    def timed_generation(*args: Any) -> Any:
        watch.start()
        result = generate(*args)
        watch.lap("rollout")
        return result

    whiten = after(ppo_trainer.masked_whiten, lambda: watch.lap("score"))  # of the advantages: rewards are not whitened
    with ExitStack() as stack:
        stack.enter_context(patch.object(ppo_trainer, "batch_generation", timed_generation))
        stack.enter_context(patch.object(ppo_trainer, "masked_whiten", whiten))
        stack.enter_context(patch.object(trainer, "log", lambda _: watch.lap("learn")))
        stack.enter_context(patch.object(optimiser, "step", after(optimiser.step, lambda: steps.append(1))))
        trainer.train()
    return len(steps)


def force(trainer: PPOTrainer, lengths: list[int]) -> list[int]:
    """Responses of exactly these lengths: what was generated beyond them is cut as TRL cuts after eos.

    TRL generates to the full length whatever comes, and cuts afterwards, so this changes no work. Returns where the
    tokens that are left are counted, those of each batch that is scored.
    """
    ends, counted = torch.tensor(lengths), []

    def cut(_: int, pad: int, responses: torch.Tensor) -> torch.Tensor:
        rows, longest = responses.shape
        end = ends.roll(-len(counted) * rows)[:rows, None]
        counted.append(int(end.clamp(max=longest).sum()))
        return responses.masked_fill(torch.arange(longest)[None] >= end, pad)

    trainer.stop_token_id = trainer.processing_class.eos_token_id  # only now, so that generation knows of none
    ppo_trainer.truncate_response = cut
    return counted


def main() -> None:
    """One short update, then as many as are told."""
    told = work()
    with tempfile.TemporaryDirectory() as scratch:
        trainer, watch = build(told, scratch), Stopwatch()
        counted = force(trainer, told["lengths"])
        warm_up(trainer)
        counted.clear()
        steps = measure(trainer, watch)
    report(told, watch.seconds, new_tokens=sum(counted), optimiser_steps=steps)


if __name__ == "__main__":
    main()
