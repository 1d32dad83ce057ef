"""The classifiers that a recipe takes its reward from, asked once before a run as it will ask them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from truing.config.defaults import ON_CPU
from truing.config.recipe import Recipe
from truing.config.sections import Base
from truing.core.records import Sample
from truing.models.device import device_of
from truing.models.fetched import directory_of
from truing.models.first_layers import keep_layers
from truing.models.weights import check_weights
from truing.preflight.model_directories import rewards_and_judges
from truing.rewards.sources import ClassifierReward, refuse_bad

WHOLE = 0.6e9
"""Bytes of weights that are loaded in a second or two"""
TOO_LARGE = 1.2e9
"""Bytes of a copy of one layer that cannot be made in seconds"""


def ask_classifiers(recipe: Recipe, samples: Sequence[Sample]) -> Iterator[str]:
    """Has every classifier score some samples, and says of each what was asked, in a sentence.

    Raises:
        ModelError: one cannot be loaded, or its tokenizer cannot read a sample.
        RewardError: a sample is longer than one reads, or has no finite score where the recipe does not drop such.
    """
    for kind, path in rewards_and_judges(recipe) if samples else ():
        if kind == "model":
            yield _ask(path, recipe, samples)


def _ask(path: str, recipe: Recipe, samples: Sequence[Sample]) -> str:
    """One of them: itself where it is small, else its architecture and its tokenizer."""
    directory = directory_of(Base(path=path))
    size = sum(file.stat().st_size for file in directory.glob("*.safetensors")) if directory else 0
    if not size:
        return f"{path} is not on this machine yet, so it was not asked."
    device, today = device_of(recipe.compute), date.fromisoformat(recipe.data.date)
    budget = recipe.compute.score_tokens or ON_CPU["compute.score_tokens"]
    if size <= WHOLE:
        scores = ClassifierReward.load(path, device, budget, today).score(samples)
        if recipe.rewards.on_bad_score != "drop":
            refuse_bad(scores, samples, path)
        return f"{path} scored {len(samples)} rows."
    outline = ClassifierReward.load(path, torch.device("meta"), budget, today, _outline)
    if sum(weight.nbytes for weight in outline.model.parameters()) > TOO_LARGE:
        return f"{path} was not asked: even a copy of few layers is too large for that."
    replace(outline, model=_one_layer(path, device)).score(samples)
    return f"Of {path}, one layer with random weights scored {len(samples)} rows."


def _outline(path: str, device: torch.device) -> PreTrainedModel:
    """One layer of a classifier that has all of its weights in its files."""
    model = _one_layer(path, device)
    check_weights(AutoModelForSequenceClassification, path, model.config, use_safetensors=True)
    return model


def _one_layer(path: str, device: torch.device) -> PreTrainedModel:
    """A classifier of this architecture that has one layer and random weights."""
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    keep_layers(config, 1)
    with torch.random.fork_rng(devices=[]), device:
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.float32, trust_remote_code=False
        )
    model.train(False)
    return model
