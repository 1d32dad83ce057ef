"""How far a model reads."""

from typing import Any

from transformers import PreTrainedModel

from truing.kernels.text_config import text_config

POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
NO_LIMIT = 1_000_000
"""Positions of a model that names none"""


def context_length(model: PreTrainedModel) -> int:
    """Positions the model was built for, or up to which it reads a text in one way."""
    config = text_config(model)
    limits = (_named(config, name) for name in POSITIONS)
    built_for = next((limit for limit in limits if isinstance(limit, int) and limit > 0), NO_LIMIT)
    return min([built_for, *_turns_at(config)])


def _turns_at(config: Any) -> list[int]:
    """The length beyond which longrope (Phi-3 and 4) turns all positions otherwise, from the first on.

    A response that was sampled across it would be learnt from with other probabilities, and a short row beside a longer
    one has others than alone.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [parameters, *(kind for kind in parameters.values() if isinstance(kind, dict))]  # one, or one a layer type
    return [kind["original_max_position_embeddings"] for kind in kinds if kind.get("rope_type") == "longrope"]


def _named(config: Any, name: str) -> Any:
    try:
        return getattr(config, name, None)
    except NotImplementedError:  # how XLNet's says that it has no limit
        return None
