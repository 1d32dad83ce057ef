"""PEFT's model with adapters, without the work that PEFT does each time and that has been done."""

from collections.abc import Sequence
from typing import Any

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils import AuxiliaryTrainingWrapper


class AdaptedModel(PeftModel):
    """A base with its adapters."""

    def create_or_update_model_card(self, output_dir: str) -> None:
        """None: `adapter_card` writes one. PEFT would compile a template, which takes longer than a small adapter."""

    def layers_with_adapters(self) -> list[Any]:
        """All of them, with the embeddings and the projection where these have rows of their own."""
        return [module for module in self.modules() if isinstance(module, LoraLayer | AuxiliaryTrainingWrapper)]

    def put_in_force(self, name: str | None, layers: Sequence[Any]) -> None:
        """One adapter in these layers, or none: as `set_adapter`, which would look through the whole model for them."""
        for layer in layers:
            put = _put_rows_in_force if isinstance(layer, AuxiliaryTrainingWrapper) else _put_factors_in_force
            put(layer, name)
        if name is not None:
            tuner: Any = self.base_model
            self.active_adapter = tuner.active_adapter = name


def _put_factors_in_force(layer: Any, name: str | None) -> None:
    """As `set_adapter` and `enable_adapters` of a low-rank layer, which take ten times as long: roles take turns."""
    for factors in (layer.lora_A, layer.lora_B):
        for own, factor in factors.items():
            factor.weight.requires_grad_(own == name)
    layer._disable_adapters = name is None
    if name is not None:
        layer._active_adapter = [name]


def _put_rows_in_force(layer: Any, name: str | None) -> None:
    layer.enable_adapters(name is not None)
    if name is not None:
        layer.set_adapter(layer.check_set_adapter([name]) or [])
