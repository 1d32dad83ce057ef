"""The reward models of the recorded runs, and what their last hidden state makes of texts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForSequenceClassification, AutoTokenizer

BATCH = 128
Texts = Sequence[tuple[str, bool]]
"""A prompt with its response, and whether that has ended"""


@dataclass(frozen=True)
class Scorer:
    """A reward model with its normalisation."""

    model: Any
    tokenizer: Any
    mean: float
    deviation: float

    @classmethod
    def load(cls, place: Path) -> "Scorer":
        scale = json.loads((place / "score_normalisation.json").read_text(encoding="utf-8"))
        model = AutoModelForSequenceClassification.from_pretrained(place, dtype=torch.float32).eval()
        return cls(model, AutoTokenizer.from_pretrained(place), scale["mean"], scale["std"])

    @torch.no_grad()
    def read(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """(N,) normalised scores, and (N, D) the states that the head reads: at the end of each text."""
        given = self.tokenizer([text for text, _ in texts])["input_ids"]
        ended = [self.tokenizer.eos_token_id]
        rows = [torch.tensor(ids + ended * finished) for ids, (_, finished) in zip(given, texts, strict=True)]
        states = []
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            tokens = pad_sequence(part, batch_first=True)
            mask = pad_sequence([torch.ones_like(row) for row in part], batch_first=True)
            hidden = self.model.model(input_ids=tokens, attention_mask=mask).last_hidden_state
            states.append(hidden[torch.arange(len(part)), mask.sum(1) - 1])
        read = torch.cat(states)
        scores = (self.model.score(read).squeeze(-1) - self.mean) / self.deviation
        return scores.double().numpy(), read.double().numpy()


def texts_of(rows: Sequence[dict[str, Any]]) -> list[tuple[str, bool]]:
    """Of lines of samples.jsonl."""
    return [(row["prompt"] + row["response"], row["finished"]) for row in rows]


def judged_texts(pairs: Sequence[dict[str, Any]]) -> list[tuple[str, bool]]:
    """Both sides of preferences."""
    return [(f"{row['prompt']} {row[side].lstrip()}", True) for row in pairs for side in ("chosen", "rejected")]
