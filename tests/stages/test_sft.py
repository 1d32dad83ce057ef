"""Supervised fine-tuning lowers the loss of completions, and says how far."""

import math
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM

from truing.core.results import to_json
from truing.core.rows import TokenRows
from truing.models.roles import Role
from truing.runs.checkpoints import newest_checkpoint
from truing.runs.files import read_json
from truing.runs.metrics import read_jsonl
from truing.stages.sft import completion_loss, heldout_loss, rows_to_say, train_sft

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
PROMPTS, COMPLETIONS = [(1, 2), (3,), (4, 5, 6)], [(7, EOS), (8, 9, 10, EOS), (11,)]
ROWS = TokenRows(PROMPTS, COMPLETIONS, PAD)


def test_the_loss_is_the_mean_over_completion_tokens_alone() -> None:
    model, losses = tiny.model(), []
    for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True):
        with torch.no_grad():
            logprobs = model(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
        losses += [-float(logprobs[len(prompt) + t - 1, token]) for t, token in enumerate(completion)]
    expected = sum(losses) / len(losses)
    with torch.no_grad():
        loss, _ = completion_loss(Role(model), ROWS.to(model.device))
    assert float(loss) == pytest.approx(expected, abs=1e-5)
    assert heldout_loss(Role(model), ROWS, token_budget=6) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_lowers_the_loss_and_leaves_what_it_promises(method: str, tmp_path: Path) -> None:
    job = tiny.job(tiny.recipe(tmp_path, **{"sft.method": method, "sft.log_every": 2}), tmp_path, "sft")
    result = to_json(train_sft(job))
    metrics = read_jsonl(job.directory.metrics)
    assert result["heldout_loss"] < result["heldout_loss_before"] - 0.5
    assert result["findings"] == []
    assert metrics[-1]["loss"] < metrics[1]["loss"]
    assert result["heldout_perplexity"] == pytest.approx(math.exp(result["heldout_loss"]))
    assert (result["steps"], result["train_rows"], result["heldout_rows"]) == (6, 22, 2)
    assert result["heldout_tokens"] == 2 * 5  # 'aha.' or 'oho.', and eos
    assert [row["step"] for row in metrics if "heldout_loss" in row] == [0, 2, 4, 6]
    assert [row["step"] for row in metrics] == list(range(7))
    assert all({"loss", "grad_norm", "learning_rate", "tokens"} <= row.keys() for row in metrics[1:])
    assert job.directory.adapter.exists() == (method == "lora")


def test_full_training_in_bfloat16_moves_the_weights_as_plain_adamw_in_single_precision_does(
    tmp_path: Path,
) -> None:
    """Steps of 0.0001 on weights of 0.3, of which bfloat16 would round most away."""
    rate, steps = 1e-4, 4
    changes = {"method": "full", "batch_size": 100, "epochs": steps}
    optimiser = {"learning_rate": rate, "warmup": 0.0, "schedule": "constant"}
    recipe = tiny.recipe(tmp_path, **{"compute.dtype": "bfloat16", "sft.optimiser": optimiser})
    recipe = recipe.model_copy(update={"sft": recipe.sft.model_copy(update=changes)})
    tiny.model().bfloat16().save_pretrained(tmp_path / "base")
    job = tiny.job(recipe, tmp_path, "sft")
    train_sft(job)
    found = newest_checkpoint(job.directory.checkpoints, print)
    assert found is not None
    assert {tensor.dtype for name, tensor in found.tensors.items() if name != "steps"} == {torch.float32}
    before = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    after = _plain_adamw(tmp_path / "base", job.demonstrations().train, rate, steps)
    moved, expected = [], []
    for path, weight in before.named_parameters():
        moved.append((found.tensors[f"weights/policy/{path}"] - weight.detach()).flatten())
        expected.append((dict(after.named_parameters())[path] - weight).detach().flatten())
    ours, theirs = torch.cat(moved), torch.cat(expected)
    assert float((ours != 0).float().mean()) == pytest.approx(float((theirs != 0).float().mean()), abs=0.02)
    assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=0.05)
    assert float(torch.nn.functional.cosine_similarity(ours, theirs, dim=0)) > 0.9


def _plain_adamw(directory: Path, rows: TokenRows, rate: float, steps: int) -> torch.nn.Module:
    """AdamW on the loss that transformers gives of all rows at once, in single precision."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    longest = max(rows.token_counts)
    batch: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "attention_mask": []}
    for prompt, response, count in zip(rows.prompts, rows.responses, rows.token_counts, strict=True):
        padding = longest - count
        batch["input_ids"].append([*prompt, *response, *[PAD] * padding])
        batch["labels"].append([*[-100] * len(prompt), *response, *[-100] * padding])
        batch["attention_mask"].append([1] * count + [0] * padding)
    inputs = {name: torch.tensor(values) for name, values in batch.items()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    for _ in range(steps):
        optimiser.zero_grad()
        model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model


def test_the_saved_model_has_the_held_out_loss_that_was_reported(tmp_path: Path) -> None:
    own = tiny.write_rows(tmp_path / "heldout.jsonl", [{"prompt": "ab?", "completion": "aha."}])
    recipe = tiny.recipe(tmp_path, **{"data.heldout_demonstrations": {"path": str(own)}})
    job = tiny.job(recipe, tmp_path, "sft")
    result = to_json(train_sft(job))
    model = AutoModelForCausalLM.from_pretrained(job.directory.model)
    tokens = [*tiny.tokenizer().encode("ab?aha."), EOS]
    with torch.no_grad():
        logprobs = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
    losses = [-float(logprobs[t - 1, tokens[t]]) for t in range(3, 8)]
    assert result["heldout_loss"] == pytest.approx(sum(losses) / 5, abs=1e-4)
    assert result["train_rows"] == 24


def test_notes_and_truncation_are_told(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, pad=None, **{"data.too_long": "drop", "data.max_length": 9})
    result = to_json(train_sft(tiny.job(recipe, tmp_path, "sft")))
    assert "no pad token" in result["notes"][0]
    assert "dropped as too long" in result["truncation"]
    assert read_json(tmp_path / "sft" / "model" / "config.json")["pad_token_id"] == EOS + 1


def test_the_chosen_side_of_preferences_is_learnt_and_split_as_pairs_are(tmp_path: Path) -> None:
    changes = {"stages": ["sft"], "sft.data": "preferences", "data.demonstrations": None}
    job = tiny.job(tiny.recipe(tmp_path, **changes), tmp_path, "sft")
    pairs, rows = job.rows.preferences(job.recipe), rows_to_say(job)
    assert (rows.train, rows.heldout) == (pairs.train.chosen, pairs.heldout.chosen)
    result = to_json(train_sft(job))
    assert (result["train_rows"], result["heldout_rows"]) == (len(pairs.train), len(pairs.heldout))
    assert result["heldout_loss"] < result["heldout_loss_before"]
