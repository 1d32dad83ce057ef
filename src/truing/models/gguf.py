"""A base from a GGUF file: its weights, quantised or not, as the tensors of an ordinary model."""

from typing import Any

import transformers


def gguf_options(file: str) -> dict[str, Any]:
    """What `from_pretrained` has to be told, so that what it loads can be learnt from, merged and saved.

    Versions that can leave weights in the file's blocks take a model for quantised, and refuse to save it, unless they
    are asked for plain tensors. Earlier ones always make plain tensors and have nothing to be asked with.
    """
    config = getattr(transformers, "GgufConfig", None)
    return {"gguf_file": file} | ({} if config is None else {"quantization_config": config(dequantize=True)})
