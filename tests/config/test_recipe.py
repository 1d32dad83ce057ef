import pytest
from pydantic import ValidationError

from truing.config.algorithms import Dpo, Kl, Ppo, Reward, Sft
from truing.config.recipe import Recipe
from truing.config.sections import Optimiser, RewardConfig, Section

SECTIONS = [*Section.__subclasses__(), Recipe]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_field_is_documented_where_it_stands(section: type[Section]) -> None:
    assert section.__doc__
    assert [name for name, field in section.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_no_section_takes_keys_it_does_not_know(section: type[Section]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        section.model_validate({"surely_not_a_key": 1})


@pytest.mark.parametrize(
    "document",
    [
        {"seed": "17"},
        {"seed": 17.0},
        {"seed": True},
        {"name": 17},
        {"sft": {"epochs": 1.0}},
        {"ppo": {"gamma": "1"}},
        {"ppo": {"whiten_rewards": 1}},
        {"ppo": {"whiten_rewards": "true"}},
        {"stages": "sft"},
        {"stages": ("sft",)},
        {"stages": []},
        {"track": ["other"]},
        {"sft": {"optimiser": {"learning_rate": float("nan")}}},
        {"sft": {"optimiser": {"learning_rate": float("inf")}}},
        {"sft": {"optimiser": {}}},
        {"compute": {"threads": 10**20}},
    ],
)
def test_types_are_not_converted(document: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(document)


@pytest.mark.parametrize("number", [1, 1.0])
def test_a_whole_number_is_a_number(number: float) -> None:
    assert Ppo.model_validate({"gamma": number}).gamma == 1.0


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "a b", "ä", "a\n"])
def test_a_name_can_name_a_directory(name: str) -> None:
    with pytest.raises(ValidationError):
        Recipe(name=name)


def test_a_recipe_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().ppo.gamma = 0.5


def test_sections_do_not_share_their_defaults() -> None:
    one, two = Recipe(), Recipe()
    assert one.variants is not two.variants
    assert one.evaluation.judges is not two.evaluation.judges
    assert one.rewards.sources is not two.rewards.sources


def test_the_learning_rate_is_chosen_by_what_learns_unless_it_is_named() -> None:
    with pytest.raises(ValidationError, match="learning_rate"):
        Optimiser.model_validate({})
    assert Sft().optimiser.learning_rate is None


@pytest.mark.parametrize(("kind", "path"), [("stage", "x"), ("model", None), ("function", None), ("judge", None)])
def test_a_reward_has_a_path_where_its_kind_needs_one(kind: str, path: str | None) -> None:
    with pytest.raises(
        ValidationError, match="kinds model, function, judge and environment need a path; kind stage has none"
    ):
        RewardConfig.model_validate({"kind": kind, "path": path})


def test_minibatches_are_whole() -> None:
    assert Ppo(episodes=12, minibatches=4).minibatches == 4
    with pytest.raises(ValidationError, match=r"episodes \(10\) must be a multiple of minibatches \(4\)"):
        Ppo(episodes=10, minibatches=4)


def test_a_stage_takes_one_doubt_of_its_labels() -> None:
    assert Reward(use_share=True).use_share
    assert Dpo(use_share=True).use_share
    for section in (Reward, Dpo):
        with pytest.raises(ValidationError, match=r"use_share says of each row what label_smoothing says of all"):
            section(use_share=True, label_smoothing=0.1)
    for variant in ("robust", "ipo"):
        with pytest.raises(ValidationError, match=f"the variant {variant} has no use_share"):
            Dpo.model_validate({"variant": variant, "use_share": True})


def test_the_adaptive_penalty_cannot_change_its_sign() -> None:
    assert Ppo(episodes=12, kl=Kl(controller="adaptive", horizon=12.0)).kl.horizon == 12.0
    assert Ppo(episodes=12, kl=Kl(controller="fixed", horizon=1.0)).kl.horizon == 1.0
    with pytest.raises(ValidationError, match=r"kl\.horizon \(11\) must be at least the episodes \(12\)"):
        Ppo(episodes=12, kl=Kl(controller="adaptive", horizon=11.0))
