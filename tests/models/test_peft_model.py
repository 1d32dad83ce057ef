"""What is left out of PEFT's work leaves a model as PEFT does."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tiny
from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper

from truing.models.peft_model import AdaptedModel

ROWS = {"model.embed_tokens": [1, 2], "lm_head": [1, 2]}


@pytest.fixture
def adapted() -> AdaptedModel:
    """Two adapters with rows of their own and one without; the last is in fewer layers."""
    model = AdaptedModel(tiny.model(), LoraConfig(target_modules="all-linear", trainable_token_indices=ROWS), "a")
    model.add_adapter("b", LoraConfig(target_modules="all-linear", trainable_token_indices=ROWS))
    model.add_adapter("c", LoraConfig(target_modules=["q_proj"]))
    return model


def state(model: PeftModel) -> dict[str, Any]:
    """Which adapter each layer has in force, if any, and which weights learn."""
    layers = {
        name: (module.active_adapters, module.disable_adapters)
        for name, module in model.named_modules()
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)
    }
    return {"learn": {name for name, weight in model.named_parameters() if weight.requires_grad}, "layers": layers}


def test_an_adapter_is_in_force_as_peft_puts_it(adapted: AdaptedModel) -> None:
    theirs, layers = deepcopy(adapted), adapted.layers_with_adapters()
    for name in ("a", "b", "c", None, "b", "a", None, "c", "b"):
        tuner: Any = theirs.base_model
        if name is None:
            tuner.disable_adapter_layers()
        else:
            tuner.enable_adapter_layers()
            theirs.set_adapter(name)
        adapted.put_in_force(name, layers)
        assert state(adapted) == state(theirs)
        assert adapted.active_adapters == theirs.active_adapters


def test_no_card_is_written(adapted: AdaptedModel, tmp_path: Path) -> None:
    adapted.save_pretrained(str(tmp_path), selected_adapters=["a"], save_embedding_layers=False)
    assert not (tmp_path / "README.md").exists()
    assert (tmp_path / "a" / "adapter_model.safetensors").exists()
