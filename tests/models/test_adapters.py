"""What cannot carry an adapter is refused as the recipe's mistake, and nothing else is."""

import pytest
import tiny

from truing.config.sections import Lora
from truing.core.errors import RecipeError
from truing.models.adapters import Adapters


@pytest.mark.parametrize("targets", [[], "", ["no_such_layer"], "(", ["norm"]])
def test_targets_that_cannot_be_adapted_are_the_recipes_mistake(targets: str | list[str]) -> None:
    with pytest.raises(RecipeError, match=r"lora\.targets: no adapter could be put on the model") as refusal:
        Adapters(tiny.model(), Lora(rank=2, targets=targets), seed=0).add("policy")
    assert refusal.value.hint


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")  # PEFT warns of it
@pytest.mark.parametrize(
    ("shape", "target", "told"),
    [
        ("llama", "embed_tokens", "model.embed_tokens, which is no linear layer"),
        ("gpt2", "wpe", "transformer.wpe, which is no linear layer"),
        ("qwen", "lm_head", "lm_head, which shares its weights with the embeddings"),
    ],
)
def test_no_adapter_is_put_on_embeddings(shape: str, target: str, told: str) -> None:
    with pytest.raises(RecipeError, match=f"lora.targets: no adapter can be put on {told}"):
        Adapters(tiny.model(shape), Lora(rank=2, targets=[target]), seed=0).add("policy")


def test_a_projection_of_its_own_is_adapted() -> None:
    adapters = Adapters(tiny.model(), Lora(rank=2, targets=["lm_head"]), seed=0)
    adapters.add("policy")
    assert len(adapters.parameters("policy")) == 2


def test_no_adapter_is_put_on_a_projection_whose_new_rows_learn() -> None:
    adapters = Adapters(tiny.model(), Lora(rank=2, targets=["lm_head"]), seed=0, new_rows=range(32, 34))
    with pytest.raises(RecipeError, match=r"lora\.targets: no adapter could be put on the model"):
        adapters.add("policy")
