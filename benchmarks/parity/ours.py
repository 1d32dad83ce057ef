"""The same optimiser steps by truing's own stages: their data path, their losses, their one training loop."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cases import BETA, Case
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from truing.config.algorithms import Dpo, Reward
from truing.config.recipe import Recipe
from truing.config.sections import Base, Compute, Data, Optimiser
from truing.core.records import Demonstration, Preference
from truing.core.rows import PairRows, TokenRows
from truing.data.chat import write_prompt
from truing.data.encode import EncodedRow, Record, encode_records
from truing.models.heads import scalar_head
from truing.models.layout import trained_role
from truing.models.load import LoadedBase, load_base
from truing.models.roles import Role
from truing.stages.dpo import ReferencedRows, preference_loss, with_reference
from truing.stages.reward import pair_loss
from truing.stages.sft import completion_loss
from truing.training.learner import Learner, LossFn, Trained

Measured = dict[str, Tensor]
"""`loss`, and the gradient of every parameter under its Hugging Face name"""


def measure(case: Case, material: Path) -> Measured:
    """One step over the case's rows; in micro-batches of our own planning where TRL's step is in several."""
    role, batch, loss_fn = build(case, material)
    learner = learner_of(role, token_budget=2048 if case.micro >= case.rows else 64)
    figures = learner.forward_backward(batch, loss_fn)
    return {"loss": torch.tensor(figures["loss"])} | gradients(role)


def measure_equal_micro_batches(case: Case, material: Path, micro_batches: list[list[list[int]]]) -> Measured:
    """The same with TRL's micro-batches, each weighing as much as any other."""
    role, batch, loss_fn = build(case, material)
    learner, total = learner_of(role), 0.0
    rows = token_rows(batch)
    for micro in micro_batches:
        index = [rows.index(tuple(row)) for row in micro[: len(micro) if case.stage == "sft" else len(micro) // 2]]

        def share_of_loss(part: Any) -> tuple[Tensor, dict[str, Tensor]]:
            return loss_fn(part)[0] / len(micro_batches), {}

        total += learner.forward_backward(batch.rows(index), share_of_loss)["loss"]
    return {"loss": torch.tensor(total)} | gradients(role)


def build(case: Case, material: Path) -> tuple[Role, Any, LossFn[Any]]:
    """The model that learns, the batch, and the loss, as the stage has them."""
    base = load_base(Base(path=str(material / "base")), Compute(device="cpu"))
    if case.stage == "sft":
        policy = trained_role(base, "policy", None, seed=0)
        return policy, demonstrations(material, base, case.rows), lambda batch: completion_loss(policy, batch)
    pairs = preferences(material, base, case.rows)
    if case.stage == "reward":
        reward, settings = scored_role(material / "reward"), Reward(use_margin=case.margin)
        return reward, pairs, lambda batch: pair_loss(reward, batch, settings)
    variant: Any = case.loss_type
    recipe = Recipe(dpo=Dpo(beta=BETA, variant=variant, label_smoothing=case.smoothing))
    reference = load_base(Base(path=str(material / "reference")), Compute(device="cpu")).role()
    referenced = with_reference(reference, pairs, recipe)
    policy = trained_role(base, "policy", None, seed=0)
    return policy, referenced, lambda batch: preference_loss(policy, batch, recipe.dpo)


def scored_role(directory: Path) -> Role:
    """A sequence classifier's backbone and its head."""
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()
    head = scalar_head(model, seed=0, bias=False)
    head.load_state_dict({"weight": load_file(directory / "model.safetensors")["score.weight"]})
    return Role(model, head=head)


def demonstrations(material: Path, base: LoadedBase, count: int) -> TokenRows:
    records = [Demonstration(**row, where="") for row in rows_of(material / "demonstrations.json", count)]
    return rows_as_tokens(base, encoded(base, records, "completion"), "completion")


def preferences(material: Path, base: LoadedBase, count: int) -> PairRows:
    records = [Preference(**row, where="") for row in rows_of(material / "preferences.json", count)]
    rows = encoded(base, records, "chosen", "rejected")
    chosen, rejected = (rows_as_tokens(base, rows, side) for side in ("chosen", "rejected"))
    return PairRows(chosen, rejected, [row.margin for row in rows])


def rows_as_tokens(base: LoadedBase, rows: Sequence[EncodedRow], completion: str) -> TokenRows:
    responses = [row.completions[completion] for row in rows]
    return TokenRows([row.prompt for row in rows], responses, base.tokenizer.pad_token_id)


def encoded(base: LoadedBase, records: Sequence[Record], *completions: str) -> list[EncodedRow]:
    form = base.text_format(Data())
    return encode_records(records, completions, form, partial(write_prompt, form))[0]


def rows_of(path: Path, count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows[:count]


def token_rows(batch: TokenRows | PairRows | ReferencedRows) -> list[tuple[int, ...]]:
    """The tokens of every row; of pairs, those of the chosen side."""
    while not isinstance(batch, TokenRows):
        batch = batch.pairs if isinstance(batch, ReferencedRows) else batch.chosen
    return [(*prompt, *response) for prompt, response in zip(batch.prompts, batch.responses, strict=True)]


def learner_of(*roles: Role, token_budget: int = 2048) -> Learner:
    """The training loop that every stage uses, over all the roles' weights."""
    trained = [Trained(f"role {place}", role, 1e-3) for place, role in enumerate(roles)]
    return Learner(trained, Optimiser(learning_rate=1e-3), 1, token_budget)


def gradients(role: Role, rename: Callable[[str], str] = str) -> Measured:
    """The gradient of every weight that has one; that of the scalar head as `score.weight`."""
    named = dict(role.model.named_parameters())
    if role.head is not None:
        named["score.weight"] = role.head.weight
    return {rename(name): weight.grad.clone() for name, weight in named.items() if weight.grad is not None}
