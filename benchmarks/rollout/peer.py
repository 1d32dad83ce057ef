"""Batches of responses by Hugging Face's `generate` (in an environment of a peer)."""

from typing import Any

import torch
from harness.child import Stopwatch, report, work
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LogitsProcessor, PreTrainedModel


class Ends(LogitsProcessor):
    """The eos at each row's own length and nowhere else, so that `generate` stops when the longest is done."""

    def __init__(self, lengths: list[int], prompt: int, eos: int) -> None:
        self.lengths, self.prompt, self.eos = torch.tensor(lengths), prompt, eos

    def __call__(self, tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores of the next token, changed in place."""
        scores[:, self.eos] = -torch.inf
        ending = (self.lengths == tokens.shape[1] - self.prompt + 1).nonzero().squeeze(1)
        scores[ending] = -torch.inf
        scores[ending, self.eos] = 0.0
        return scores


def respond(model: PreTrainedModel, batch: dict[str, Any], eos: int, pad: int, new_tokens: int) -> None:
    """Sampled responses of the batch's lengths, or of so many tokens if that is shorter."""
    prompts = torch.tensor(batch["prompts"])
    settings = GenerationConfig(
        max_new_tokens=new_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    said = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        generation_config=settings,
        logits_processor=[Ends(batch["lengths"], prompts.shape[1], eos)],
    )
    wanted = min(max(batch["lengths"]), new_tokens)
    if said.shape[1] - prompts.shape[1] != wanted:
        raise RuntimeError(f"{said.shape[1] - prompts.shape[1]} tokens where {wanted} were forced")


def main() -> None:
    """Every batch: two tokens first, then all of them as often as is told."""
    told = work()
    model = AutoModelForCausalLM.from_pretrained(told["model"], dtype=torch.float32).eval()
    tokenizer, watch = AutoTokenizer.from_pretrained(told["model"]), Stopwatch()
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    for batch in told["batches"]:
        respond(model, batch, eos, pad, 2)
        for _ in range(told["repeats"]):
            watch.start()
            respond(model, batch, eos, pad, max(batch["lengths"]))
            watch.lap(batch["name"])
    report(told, watch.seconds, new_tokens=[sum(batch["lengths"]) for batch in told["batches"]])


if __name__ == "__main__":
    main()
