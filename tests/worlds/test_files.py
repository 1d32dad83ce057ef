"""A world on disk is like any other base and data: the public readers and transformers load it."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from truing.config.recipe import Recipe
from truing.config.sections import World
from truing.data.datasets import read_data
from truing.pipeline.world import on_files_of
from truing.worlds.files import word_tokenizer
from truing.worlds.language import openings, vocabulary
from truing.worlds.reviews import WorldPaths, demonstrations, preferences, write_world

WORLD = World(demonstrations=30, preferences=20, prompts=10)
LONGEST_RESPONSE = 48


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> WorldPaths:
    return write_world(WORLD, 17, tmp_path_factory.mktemp("world"))


def test_the_readers_of_every_recipe_read_it(world: WorldPaths) -> None:
    datasets = read_data(on_files_of(world, Recipe()))
    shown, compared, asked = (datasets[name].records for name in ("demonstrations", "preferences", "prompts"))
    assert [(row.prompt, row.completion) for row in shown] == [tuple(r.values()) for r in demonstrations(30, 17)]
    assert [(r.prompt, r.chosen, r.rejected) for r in compared] == [tuple(r.values()) for r in preferences(20, 17)]
    assert len({row.prompt for row in asked}) == 10


def test_its_ratings_are_the_sides_of_its_pairs_where_a_stage_learns_from_them(world: WorldPaths) -> None:
    recipe = on_files_of(world, Recipe(stages=["sft", "kto"]))
    rated = read_data(recipe)["ratings"].records
    sides = [(r["prompt"], r[side], side == "chosen") for r in preferences(20, 17) for side in ("chosen", "rejected")]
    assert [(row.prompt, row.completion, row.label) for row in rated] == sides


def test_the_base_is_a_tiny_llama_that_transformers_loads(world: WorldPaths) -> None:
    model = AutoModelForCausalLM.from_pretrained(world.base)
    tokenizer = AutoTokenizer.from_pretrained(world.base)
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (64, 2)
    assert 80_000 < model.num_parameters() < 130_000
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3
    for config in (model.config, model.generation_config):
        assert (config.pad_token_id, config.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    longest = max(len(tokenizer(opening)["input_ids"]) for opening in openings())
    assert longest + LONGEST_RESPONSE <= model.config.max_position_embeddings


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(world: WorldPaths, tmp_path: Path) -> None:
    again, other = write_world(WORLD, 17, tmp_path / "again"), write_world(WORLD, 18, tmp_path / "other")
    for name in (
        "demonstrations.jsonl",
        "preferences.jsonl",
        "ratings.jsonl",
        "prompts.jsonl",
        "base/model.safetensors",
    ):
        first, same, different = ((place.base.parent / name).read_bytes() for place in (world, again, other))
        assert first == same
        assert first != different


def test_every_word_is_one_token_that_reads_back() -> None:
    tokenizer = word_tokenizer(vocabulary())
    texts = [row["completion"] for row in demonstrations(300, 17)] + list(openings()[::10])
    for text in texts:
        tokens = tokenizer(text)["input_ids"]
        assert len(tokens) == len(text.split())
        assert tokenizer.unk_token_id not in tokens
        assert tokenizer.decode(tokens) == text
    assert tokenizer("the lid is good.")["input_ids"] == tokenizer("the lid is good .")["input_ids"]
    assert tokenizer("qwerty")["input_ids"] == [tokenizer.unk_token_id]
