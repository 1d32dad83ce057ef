"""The same optimiser steps by truing's own stages: their data path, their losses, their one training loop."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cases import BETA, GAMMA, ODDS, SIMPO_BETA, UNDESIRABLE, Case
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from truing.config.algorithms import Dpo, Kto, Orpo, Reward, Simpo
from truing.config.recipe import Recipe
from truing.config.sections import Base, Compute, Data, Optimiser
from truing.core.records import Demonstration, Preference, Rating, Record
from truing.core.rows import PairRows, RatedRows, RowsWith, TokenRows
from truing.data.chat import write_prompt
from truing.data.encode import EncodedRow, encode_records
from truing.models.heads import scalar_head
from truing.models.layout import trained_role
from truing.models.load import LoadedBase, load_base
from truing.models.roles import Role
from truing.stages import kto
from truing.stages.dpo import preference_loss, with_reference
from truing.stages.orpo import odds_loss
from truing.stages.pairs import pair_logprobs
from truing.stages.reward import pair_loss
from truing.stages.sft import completion_loss
from truing.stages.simpo import margin_loss
from truing.training.learner import Learner, LossFn, Trained

KTO = Recipe(kto=Kto(beta=BETA, undesirable_weight=UNDESIRABLE), compute=Compute(score_tokens=2048))
WITHOUT_REFERENCE = {
    "simpo": margin_loss(Simpo(beta=SIMPO_BETA, gamma=GAMMA)),
    "orpo": odds_loss(Orpo(weight=ODDS)),
}
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
        index = [rows.index(tuple(row)) for row in micro[: len(micro) // (2 if case.stage in ("reward", "dpo") else 1)]]

        def share_of_loss(part: Any) -> tuple[Tensor, dict[str, Tensor]]:
            return loss_fn(part)[0] / len(micro_batches), {}

        total += learner.forward_backward(batch.rows(index), share_of_loss)["loss"]
    return {"loss": torch.tensor(total)} | gradients(role)


def measure_as_trl_says(case: Case, material: Path) -> Measured:
    """One step with the SFT term averaged over all tokens of the batch, and with ORPO's over those of prompts too."""
    role, batch, loss_fn = build(case, material)
    pairs = batch if case.stage == "orpo" else batch.own
    said = said_with_prompts(pairs.chosen) if case.stage == "orpo" else pairs.chosen
    weight = 1.0 if case.stage == "orpo" else case.sft

    def other_mean(part: Any) -> tuple[Tensor, dict[str, Tensor]]:
        own, _ = pair_logprobs(role, part if case.stage == "orpo" else part.pairs)
        theirs, _ = completion_loss(role, said.to(own.mean.device))
        return loss_fn(part)[0] + weight * (own.mean.mean() + theirs), {}

    return {"loss": torch.tensor(learner_of(role).forward_backward(batch, other_mean)["loss"])} | gradients(role)


def said_with_prompts(rows: TokenRows) -> TokenRows:
    """The same, of which all but the first token of the prompt is to be said."""
    responses = [(*prompt[1:], *said) for prompt, said in zip(rows.prompts, rows.responses, strict=True)]
    return TokenRows([prompt[:1] for prompt in rows.prompts], responses, rows.pad)


def measure_own_reference_points(case: Case, material: Path, micro_batches: list[list[list[int]]]) -> Measured:
    """KTO with a reference point for each of TRL's micro-batches, of responses within it."""
    base = load_base(Base(path=str(material / "base")), Compute(device="cpu"))
    role, rows, total = trained_role(base, "policy", None, seed=0), ratings(material, base, case.rows), 0.0
    learner = learner_of(role)
    for micro in micro_batches:
        part = rows.rows([token_rows(rows).index(tuple(row)) for row in micro])

        def share_of_loss(one: Any) -> tuple[Tensor, dict[str, Tensor]]:
            return kto.rating_loss(role, one, KTO.kto)[0] / len(micro_batches), {}

        total += learner.forward_backward(referenced_ratings(role, material, part), share_of_loss)["loss"]
    return {"loss": torch.tensor(total)} | gradients(role)


def build(case: Case, material: Path) -> tuple[Role, Any, LossFn[Any]]:
    """The model that learns, the batch, and the loss, as the stage has them."""
    base = load_base(Base(path=str(material / "base")), Compute(device="cpu"))
    if case.stage == "sft":
        policy = trained_role(base, "policy", None, seed=0)
        return policy, demonstrations(material, base, case.rows), lambda batch: completion_loss(policy, batch)
    if case.stage == "kto":
        policy = trained_role(base, "policy", None, seed=0)
        batch = referenced_ratings(policy, material, ratings(material, base, case.rows))
        return policy, batch, lambda part: kto.rating_loss(policy, part, KTO.kto)
    pairs = preferences(material, base, case.rows)
    if case.stage == "reward":
        reward, settings = scored_role(material / "reward"), Reward(use_margin=case.margin)
        return reward, pairs, lambda batch: pair_loss(reward, batch, settings)
    policy = trained_role(base, "policy", None, seed=0)
    if case.stage in WITHOUT_REFERENCE:
        loss = WITHOUT_REFERENCE[case.stage]
        return policy, pairs, lambda batch: loss(policy, batch)
    recipe = Recipe(dpo=dpo_settings(case), compute=Compute(score_tokens=2048))
    referenced = with_reference(reference_of(material), pairs, recipe)
    return policy, referenced, lambda batch: preference_loss(policy, batch, recipe.dpo)


def dpo_settings(case: Case) -> Dpo:
    variant: Any = "sigmoid" if case.normalised else case.loss_type
    return Dpo(
        beta=BETA,
        variant=variant,
        label_smoothing=case.smoothing,
        length_normalised=case.normalised,
        sft_weight=case.sft,
    )


def reference_of(material: Path) -> Role:
    return load_base(Base(path=str(material / "reference")), Compute(device="cpu")).role()


def referenced_ratings(policy: Role, material: Path, rows: RatedRows) -> kto.ReferencedRatings:
    """Ratings as a step of KTO has them, with its reference point."""
    batch = kto.with_reference(reference_of(material), rows, KTO)
    return kto.with_reference_point(policy, batch, KTO)


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


def ratings(material: Path, base: LoadedBase, count: int) -> RatedRows:
    rows = rows_of(material / "ratings.json", count)
    encoded_rows = encoded(base, [Rating(**row, where="") for row in rows], "completion")
    return RatedRows(rows_as_tokens(base, encoded_rows, "completion"), [row["label"] for row in rows])


def rows_as_tokens(base: LoadedBase, rows: Sequence[EncodedRow], completion: str) -> TokenRows:
    responses = [row.completions[completion] for row in rows]
    return TokenRows([row.prompt for row in rows], responses, base.tokenizer.pad_token_id)


def encoded(base: LoadedBase, records: Sequence[Record], *completions: str) -> list[EncodedRow]:
    form = base.text_format(Data())
    return encode_records(records, completions, form, partial(write_prompt, form))[0]


def rows_of(path: Path, count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows[:count]


def token_rows(batch: Any) -> list[tuple[int, ...]]:
    """The tokens of every row; of pairs, those of the chosen side."""
    while not isinstance(batch, TokenRows):
        batch = batch.own if isinstance(batch, RowsWith) else getattr(batch, "chosen", None) or batch.responses
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
