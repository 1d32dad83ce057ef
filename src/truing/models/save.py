"""Results as Hugging Face directories: a policy that AutoModelForCausalLM loads, a reward model that
AutoModelForSequenceClassification loads, and the adapters beside them.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import GENERATION_CONFIG_NAME

from truing.core.errors import ModelError
from truing.core.normalisation import Normalisation
from truing.models.heads import HEAD
from truing.models.roles import Role
from truing.models.stacking import write_config
from truing.models.weight_files import ADAPTER

NORMALISATION = "score_normalisation.json"
OTHER_REWARD = (
    "Use a base whose classifier has a single linear head, such as Llama, Qwen, Mistral or GPT-2, or leave the reward "
    "stage out: rewards.sources takes functions and other reward models, and a policy that learns from rows "
    "needs none."
)


def save_adapter(
    role: Role,
    directory: Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    whole: dict[str, Tensor] | None = None,
) -> None:
    """The role's PEFT adapter, and beside it its scalar head where it has one. It names no base: see `name_base`.

    The adapter's weights are `whole`, where this process keeps but a part of them.

    With rows of new tokens goes their `tokenizer`: by it, PEFT makes room for them on a base that lacks these.
    """
    assert role.adapters is not None
    assert role.adapter is not None
    directory.mkdir(parents=True, exist_ok=True)
    peft = role.adapters.peft
    # Of embeddings, new tokens' rows are trained at most; PEFT would save all where a token made them grow.
    peft.save_pretrained(
        str(directory), selected_adapters=[role.adapter], save_embedding_layers=False, state_dict=whole
    )
    nested = directory / role.adapter  # PEFT puts every adapter but "default" into a folder of its name
    for file in nested.iterdir():
        file.rename(directory / file.name)
    nested.rmdir()
    name_base(directory, None)
    if tokenizer is not None:
        tokenizer.save_pretrained(str(directory))
    if role.head is not None:
        save_file(role.head.state_dict(), directory / HEAD)


def name_base(directory: Path, path: str | None) -> None:
    """Has a saved adapter name the Hub id or directory that it loads on, wherever one stands; None for nothing.

    PEFT itself names the base as it was named when it was loaded, perhaps from the working directory.
    """
    file = directory / ADAPTER
    absolute = str(Path(path).absolute()) if path and Path(path).is_dir() else path
    write_config(file, json.loads(file.read_bytes()) | {"base_model_name_or_path": absolute})


def merge(role: Role) -> PreTrainedModel:
    """The role's model with its adapter merged into the weights, in the precision that it is computed in.

    It is the role's no more: other adapters on the same base are dropped, and weights may be narrower than they were.
    """
    if role.adapters is None or role.adapter is None:
        precision = role.backend.precision
        if precision.is_mixed:
            nn.Module.to(role.model, precision.compute)  # in place; the library's own signature hides its return type
        return role.model
    role.select()
    merged: PreTrainedModel = role.adapters.peft.merge_and_unload(adapter_names=[role.adapter])
    return merged


def save_policy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """A directory for AutoModelForCausalLM and AutoTokenizer.

    The library refuses to save how a model generates where that was changed and has settings that it holds to be odd,
    such as a temperature without sampling. They are the base's, so they are written past its judgement.
    """
    generation = model.generation_config if model.can_generate() else None
    model.config.use_cache = True
    if generation is not None:
        model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    model.save_pretrained(str(directory))
    if generation is not None:
        model.generation_config = generation
        generation.to_json_file(directory / GENERATION_CONFIG_NAME, keys_to_pop=["compile_config"])
    model.config.use_cache = False
    tokenizer.save_pretrained(str(directory))


def save_reward_model(
    model: PreTrainedModel,
    head: nn.Linear,
    tokenizer: PreTrainedTokenizerBase,
    directory: Path,
) -> None:
    """A directory for AutoModelForSequenceClassification whose one logit is the head's score.

    Raises:
        ModelError: as `outline_classifier`.
    """
    classifier, head_name = outline_classifier(model)
    state = dict(model.base_model.state_dict(prefix=f"{model.base_model_prefix}."))
    state[head_name] = head.weight.detach()
    classifier.load_state_dict(state, assign=True)
    classifier.save_pretrained(str(directory))
    tokenizer.save_pretrained(str(directory))
    save_file(head.state_dict(), directory / HEAD)


def outline_classifier(model: PreTrainedModel) -> tuple[PreTrainedModel, str]:
    """The sequence classifier that has this model's backbone, without weights, and the name of its head's weight.

    Raises:
        ModelError: the architecture has no such class in transformers, or one with another kind of head.
    """
    classifier = _classifier_like(model)
    weights = classifier.state_dict()
    backbone = model.base_model.state_dict(prefix=f"{model.base_model_prefix}.")
    missing = sorted(weights.keys() - backbone.keys())
    if len(missing) != 1 or weights[missing[0]].ndim != 2 or len(weights[missing[0]]) != 1:
        what = f"the sequence classifier of {type(model).__name__} has a head of another shape ({', '.join(missing)})."
        raise ModelError(what, code="model/other-head", where=model.name_or_path, hint=OTHER_REWARD)
    return classifier, missing[0]


def _classifier_like(model: PreTrainedModel) -> PreTrainedModel:
    config = type(model.config).from_dict(model.config.to_dict())
    config.num_labels = 1
    config.architectures = None
    try:
        with torch.device("meta"):
            classifier: PreTrainedModel = AutoModelForSequenceClassification.from_config(  # type: ignore[no-untyped-call]
                config, dtype=model.dtype, trust_remote_code=False
            )
    except ValueError as error:
        raise ModelError(
            f"transformers has no sequence classifier for {type(model).__name__}, so the reward model cannot be saved.",
            code="model/no-classifier",
            where=model.name_or_path,
            hint=OTHER_REWARD,
        ) from error
    return classifier


def save_normalisation(normalisation: Normalisation, directory: Path) -> None:
    """The reward model's mean and deviation on SFT samples, beside its weights."""
    (directory / NORMALISATION).write_text(json.dumps(asdict(normalisation), indent=2) + "\n", encoding="utf-8")


def load_normalisation(directory: Path) -> Normalisation | None:
    """What `save_normalisation` wrote, or None where nothing was."""
    path = directory / NORMALISATION
    return Normalisation(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def save_member_scores(scores: Tensor, file: Path) -> None:
    """(N, k) what each of k reward models gives to each of N samples of the SFT model, a list a sample."""
    file.write_text(json.dumps(scores.tolist()) + "\n", encoding="utf-8")


def load_member_scores(file: Path, members: int) -> Tensor:
    """What `save_member_scores` wrote of so many reward models. ModelError where the file is damaged."""
    try:
        scores = torch.tensor(json.loads(file.read_text(encoding="utf-8")), dtype=torch.float64)
    except (ValueError, TypeError):
        scores = torch.empty(0)
    if scores.ndim != 2 or scores.shape[1] != members or not scores.isfinite().all():
        what = f"has not the scores of {members} reward models, a row of {members} numbers for each sample."
        hint = "Was it edited by hand? Put it back, or train the reward stage again."
        raise ModelError(what, code="model/damaged-scores", where=str(file), hint=hint)
    return scores
