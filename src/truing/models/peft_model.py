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
            if name is None:
                layer.enable_adapters(False)
                continue
            if layer.disable_adapters:
                layer.enable_adapters(True)
            is_of_rows = isinstance(layer, AuxiliaryTrainingWrapper)
            layer.set_adapter(layer.check_set_adapter([name]) or [] if is_of_rows else name)
        if name is not None:
            tuner: Any = self.base_model
            self.active_adapter = tuner.active_adapter = name
