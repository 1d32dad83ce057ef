"""What a base says of itself beside its weights: its config, its tokenizer, the tokens that end a response."""

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from warnings import filterwarnings

from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from truing.config.sections import Base
from truing.core.errors import ModelError, first_line
from truing.models.weight_files import refuse_embedded_adapter
from truing.models.weights import reraise_as

CAUSAL = "causal language model"
"""What a base is to be, in the words of its refusal"""


def load_config(base: Base, fetch: bool = True) -> Any:
    """What the base's config says.

    Raises:
        ModelError: there is none, an adapter stands beside it, or it is an encoder-decoder. The library would load its
            decoder as a language model that it never was: it was made to read what its encoder has read.
    """
    with reraise_as_model_error(base, CAUSAL):
        refuse_embedded_adapter(Path(base.path))  # the library would go to the model that it names
        config = AutoConfig.from_pretrained(base.path, trust_remote_code=base.trust_remote_code, **_where(base, fetch))
        if config.is_encoder_decoder:
            what = f"{config.model_type} is an encoder-decoder, and its decoder alone is no language model."
            hint = "Use a model that was made to write, such as Llama, Qwen or GPT-2."
            raise ModelError(what, code="model/encoder-decoder", where=base.path, hint=hint)
    return config


def load_tokenizer(base: Base, fetch: bool = True) -> PreTrainedTokenizerBase:
    """The base's tokenizer as it is. ModelError where there is none."""
    with reraise_as_model_error(base, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            base.path, trust_remote_code=base.trust_remote_code, **_where(base, fetch)
        )
    return tokenizer


def merge_always(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Has a text come to the same tokens each time, and says where that was not so.

    It is not where a tokenizer's file still has the dropout of merges that a model was trained with. Provilkov et al.
    2020 (arXiv:1910.13267).
    """
    model: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    if not (dropout := getattr(model, "dropout", None)):
        return []
    model.dropout = None
    return [
        f"The tokenizer leaves merges out by chance (dropout {dropout:g}), so that a text has other tokens each time. "
        "Here it does not. Its file stays as it is; for others that read it, set model.dropout there to null."
    ]


def _where(base: Base, fetch: bool) -> dict[str, Any]:
    """Where the library's readers of a base's settings are to look."""
    options: dict[str, Any] = {"gguf_file": base.gguf_file} if base.gguf_file else {}
    return options | ({} if fetch else {"local_files_only": True})


def declared_ends(model: PreTrainedModel) -> list[list[int]]:
    """The ids that the model's generation config, and those that its own config, call eos: one or several in each.

    Raises:
        ModelError: one of them is no number.
    """
    configs = (getattr(model, "generation_config", None), model.config.get_text_config())  # a classifier has but one
    named = [getattr(config, "eos_token_id", None) for config in configs]
    ends = [ids if isinstance(ids, list) else [] if ids is None else [ids] for ids in named]
    odd = next((one for ids in ends for one in ids if type(one) is not int), None)
    if odd is not None:
        what = f"its settings call {odd!r} the token that ends a response, and that is not the number of one."
        hint = "Correct eos_token_id in its generation_config.json and config.json."
        raise ModelError(what, code="model/odd-ends", where=model.name_or_path, hint=hint)
    return ends


def quiet_transformers() -> None:
    """Keeps the library's progress bars and advice out of our user's terminal; errors still arrive."""
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    filterwarnings("ignore", category=FutureWarning, message="`is_gradient_checkpointing`")  # which peft asks for


def reraise_as_model_error(base: Base, what: str) -> AbstractContextManager[None]:
    """What a library raises in the block, as a refusal that says what a person can do about it."""
    return reraise_as(partial(_refusal, base, what))


def _refusal(base: Base, what: str, error: Exception) -> ModelError:
    if "trust_remote_code" in str(error):
        return ModelError(
            f"this {what} wants to run Python code that it brings along.",
            code="model/remote-code",
            where=base.path,
            hint="Read that code, then set base.trust_remote_code: true if you trust it.",
        )
    return ModelError(
        f"no {what} could be loaded from here ({first_line(error)}).",
        code="model/not-loaded",
        where=base.path,
        hint="base.path takes a directory with config.json, tokenizer files and safetensors weights, or a Hub id.",
    )
