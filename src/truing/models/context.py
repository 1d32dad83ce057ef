"""How far a model reads."""

from typing import Any

from transformers import PreTrainedModel

from truing.kernels.text_config import text_config

POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
NO_LIMIT = 1_000_000
"""Positions of a model that names none"""


def context_length(model: PreTrainedModel) -> int:
    """Positions the model was built for."""
    config = text_config(model)
    limits = (_named(config, name) for name in POSITIONS)
    return next((limit for limit in limits if isinstance(limit, int) and limit > 0), NO_LIMIT)


def _named(config: Any, name: str) -> Any:
    try:
        return getattr(config, name, None)
    except NotImplementedError:  # how XLNet's says that it has no limit
        return None
