"""An option that nothing reads would be a promise that is not kept."""

import ast
from pathlib import Path

import pytest
from architecture.recipe_reads import SECTIONS, fields_read
from architecture.sources import module

from truing.config.sections import Data, Source


def acts(name: str) -> bool:
    """Whether a module does something with a recipe, beyond reading and checking it."""
    return not name.startswith("config.") or name == "config.plan"


@pytest.fixture(scope="module")
def read(trees: dict[Path, ast.Module]) -> set[tuple[str, str]]:
    return fields_read([file for path, file in trees.items() if acts(module(path))])


@pytest.mark.parametrize(
    ("section", "field"), [(name, field) for name, section in SECTIONS.items() for field in section.model_fields]
)
def test_every_field_of_the_recipe_is_read(section: str, field: str, read: set[tuple[str, str]]) -> None:
    assert (section, field) in read, f"no code reads {field} of {section}"


EXAMPLE = """
from typing import Protocol
from truing.config.algorithms import Ppo
from truing.config.recipe import Recipe
from truing.config.sections import Data, Optimiser, RewardConfig as Settings
class Job:
    recipe: Recipe
class Online(Protocol):
    @property
    def clip_range(self) -> float: ...
class Learner:
    def __init__(self, optimiser: Optimiser):
        self._settings = optimiser
    def step(self):
        return self._settings.warmup
def train(job, more: Ppo | None, other: Unknown, loop: Online):
    recipe, settings = job.recipe, job.recipe.ppo
    def inner():
        return settings.kl.beta, recipe.seed, more.gamma, other.heldout, loop.epochs
    for source in recipe.rewards.sources:
        source.weight
def score(settings: Settings, data: Data, name: str):
    settings.kl = settings.path
    return getattr(data, name)
"""


def test_reads_are_traced_to_their_section() -> None:
    paths = {("Recipe", "ppo"), ("Ppo", "kl"), ("Recipe", "rewards"), ("Rewards", "sources")}
    leaves = {
        ("Kl", "beta"),
        ("Recipe", "seed"),
        ("Ppo", "gamma"),
        *((name, "epochs") for name in ("Ppo", "Grpo", "Rloo", "Reinforce")),  # which suit the protocol
        ("Optimiser", "warmup"),
        ("RewardConfig", "weight"),
        ("RewardConfig", "path"),
    }
    sources = {("Data", name) for name, field in Data.model_fields.items() if field.annotation == Source | None}
    assert fields_read([ast.parse(EXAMPLE)]) == paths | leaves | sources
