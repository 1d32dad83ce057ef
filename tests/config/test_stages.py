"""The registry says nothing that is not there."""

from importlib import import_module

import pytest

from truing.config.messages import section_in
from truing.config.recipe import Recipe
from truing.config.sections import Data, Section
from truing.config.stages import DEFAULT_STAGES, STAGES, StageSpec, within

SPECS = pytest.mark.parametrize("spec", STAGES.values(), ids=STAGES)


@SPECS
def test_a_stage_has_a_section_of_its_name_and_depends_on_it(spec: StageSpec) -> None:
    assert section_in(Recipe.model_fields[spec.name].annotation) is not None
    assert spec.name in spec.depends_on


@SPECS
def test_a_stage_builds_on_stages_before_it(spec: StageSpec) -> None:
    before = list(STAGES)[: list(STAGES).index(spec.name)]
    assert set(spec.builds_on) <= set(before)
    assert spec.scored_by is None or STAGES[spec.scored_by].makes == "reward model"
    assert spec.starts_from is None or STAGES[spec.starts_from].makes != "reward model"


@SPECS
def test_a_stage_learns_from_rows_that_can_be_named(spec: StageSpec) -> None:
    assert set(spec.datasets) <= set(Data.model_fields)


@SPECS
def test_a_stage_depends_on_fields_that_are_there(spec: StageSpec) -> None:
    for key in spec.depends_on:
        section: type[Section] | None = Recipe
        for part in key.split("."):
            assert section is not None, key
            assert part in section.model_fields, key
            section = section_in(section.model_fields[part].annotation)


@SPECS
def test_a_stage_is_trained_by_a_function_that_is_there(spec: StageSpec) -> None:
    module, _, name = spec.train.partition(":")
    assert spec.load(spec.train) is getattr(import_module(module), name)


def test_a_recipe_that_names_no_stages_has_known_ones_in_order() -> None:
    assert [stage for stage in STAGES if stage in DEFAULT_STAGES] == DEFAULT_STAGES == Recipe().stages


@pytest.mark.parametrize(
    ("key", "answer"), [("lora", True), ("lora.rank", True), ("loralora", False), ("data", False), ("data.a", True)]
)
def test_a_key_is_within_a_section_by_whole_names(key: str, answer: bool) -> None:
    assert within(key, ("lora", "data.a")) is answer
