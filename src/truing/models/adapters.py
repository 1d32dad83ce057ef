"""Low-rank adapters on one base: PEFT holds, saves and merges them, around layers of the backend's choice."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.utils import TrainableTokensWrapper, set_peft_model_state_dict
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from truing.config.sections import Lora
from truing.core import rng
from truing.core.errors import ModelError, RecipeError, first_line
from truing.kernels.backbone import LANGUAGE_MODEL, decoder_layers
from truing.kernels.backend import Backend
from truing.kernels.next_token import WHOLE
from truing.models.peft_model import AdaptedModel
from truing.models.stacking import trained_part
from truing.models.weight_files import refuse_unsafe_weights

if TYPE_CHECKING:
    from truing.processes.parts import Parts

_UNKNOWN = ""
"""What is in force after PEFT has changed the adapters: nothing that was selected here"""


class Adapters:
    """The adapters on one base, and which of them is in force.

    PEFT also decides which adapter collects gradients by which one is in force, so a role must be selected when its
    backward runs; forward and backward of one role always stand together.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        lora: Lora,
        seed: int,
        backend: Backend | None = None,
        new_rows: Sequence[int] = (),
        parts: "Parts | None" = None,
    ) -> None:
        """Args:
        base: to carry the adapters; its own weights are frozen.
        lora: their size and place.
        seed: of their first weights.
        backend: that the base was loaded with; the plain one if None.
        new_rows: the last rows of embeddings and projection, of which each fresh adapter learns its own.
        parts: what this process keeps of the base, and so of an adapter on it; all where None.
        """
        self._base = base
        self._lora = lora
        self._seed = seed
        self._new_rows = new_rows
        self._parts = parts
        self._layers = {**(backend or Backend()).adapter_layers, **(parts.adapter_layers if parts else {})}
        self._peft: AdaptedModel | None = None
        self._layers_with_adapters: Sequence[Any] = ()
        self._selected: str | None = _UNKNOWN

    @property
    def peft(self) -> PeftModel:
        """The PEFT model that holds the adapters."""
        if self._peft is None:
            raise ModelError("no adapter has been added to this base yet.", code="model/no-adapter")
        return self._peft

    def add(self, name: str, above: int = 0) -> None:
        """A fresh adapter that does nothing yet (its B matrix is zero), in all layers but the lowest `above`.

        Raises:
            RecipeError: `lora.targets` names no layer that can be adapted, or one that cannot.
        """
        try:
            config = lora_config(self._base, self._lora, above)
            if self._new_rows:
                config.trainable_token_indices = {path: [*self._new_rows] for path in self._vocabulary_layers()}
            self._build(name, config)
        except (ValueError, TypeError, re.error) as error:  # PEFT may read the targets as a regular expression
            what = f"no adapter could be put on the model ({first_line(error)})."
            hint = "Write all-linear, or a list of the model's linear layers such as [q_proj, v_proj]."
            raise RecipeError(what, code="recipe/lora-targets", where="lora.targets", hint=hint) from error
        refuse_embeddings(self.peft)
        self._cut(name)

    def add_like(self, name: str, source: str) -> None:
        """An adapter in the layers that another one is in, with the weights that it has now."""
        config: Any = self.peft.peft_config[source]
        self._build(name, deepcopy(config))
        self._cut(name)
        self.copy(name, source)

    @torch.no_grad()
    def add_mean(self, name: str, sources: Sequence[str]) -> None:
        """An adapter that changes each layer by the mean of what others of equal rank do: their ranks side by side."""
        config: Any = deepcopy(self.peft.peft_config[sources[0]])
        config.r, config.lora_alpha = config.r * len(sources), config.lora_alpha * len(sources)  # at the same scale
        known = [self._whole_weights(source) for source in sources]
        self._build(name, config)
        for path, weight in self.named_parameters(name).items():
            weight.copy_(_mean_of_adapters(path, [weights[path] for weights in known]))
        self._cut(name)

    def _whole_weights(self, name: str) -> Mapping[str, Tensor]:
        """As `named_parameters`, with the parts of all processes, which come here."""
        if self._parts is None:
            return self.named_parameters(name)
        return {path: self._parts.whole(weight) for path, weight in self.named_parameters(name).items()}

    def load(self, name: str, directory: str) -> None:
        """An adapter as a stage trained it: low-rank and in safetensors, ModelError for any other."""
        refuse_unsafe_weights(Path(directory))
        _refuse_other(LoraConfig.from_pretrained(directory), directory)
        saved = trained_part(Path(directory))
        config = LoraConfig.from_peft_type(**saved.config)  # type: ignore[no-untyped-call]
        _refuse_other(config, directory)
        config.inference_mode = False
        self._build(name, config)
        set_peft_model_state_dict(self.peft, saved.weights, name)
        self._cut(name)

    def _build(self, name: str, config: LoraConfig) -> None:
        config._register_custom_module(dict(self._layers))
        with torch.random.fork_rng(devices=[]):  # PEFT draws from the global generator
            torch.manual_seed(rng.derived_seed(self._seed, f"adapter {name}"))
            if self._peft is None:
                self._peft = AdaptedModel(self._base, config, adapter_name=name)
            else:
                self._peft.add_adapter(name, config)
        embeddings: Any = self._base.get_input_embeddings()
        if isinstance(embeddings, TrainableTokensWrapper):
            layer: Any = embeddings.token_adapter
            layer.forward_adapters = partial(_embed, layer)
        for weight in self.parameters(name):
            weight.requires_grad_(True)
        self._selected = _UNKNOWN
        self._peft.train(False)

    def _cut(self, name: str) -> None:
        """Whole until here: so an adapter is drawn alike in however many processes.

        Raises:
            RecipeError: it is on a projection to the vocabulary, of which this process has a slice.
        """
        if self._parts is None:
            return
        projection: Any = self._base.get_output_embeddings()  # type: ignore[no-untyped-call]
        if isinstance(projection, LoraLayer) and self._parts.vocabulary is not WHOLE:
            what, hint = "no adapter can be put on a projection that --tp cuts by tokens.", "Take it out of the list."
            raise RecipeError(what, code="recipe/lora-projection", where="lora.targets", hint=hint)
        self._parts.cut_adapter(self._base, name)

    @torch.no_grad()
    def whole(self, name: str) -> dict[str, Tensor] | None:
        """The weights of one adapter by PEFT's paths, with the parts of all processes; None where they are at hand."""
        if self._parts is None:
            return None
        own = f".{name}."
        return {path: self._parts.whole(one) for path, one in self.peft.named_parameters() if own in path}

    @torch.no_grad()
    def copy(self, name: str, source: str) -> None:
        """Gives an adapter the weights of another one, in the layers that it has."""
        weights = self.named_parameters(source)
        for path, weight in self.named_parameters(name).items():
            if self._parts is None or self._parts.has(weight):
                weight.copy_(weights[path])

    def select(self, name: str | None) -> None:
        """Puts one adapter in force, or none."""
        if self._peft is None or name == self._selected:
            return
        if self._selected == _UNKNOWN:
            self._layers_with_adapters = self._peft.layers_with_adapters()
        self._peft.put_in_force(name, self._layers_with_adapters)
        self._selected = name

    def named_parameters(self, name: str) -> dict[str, nn.Parameter]:
        """The weights of one adapter, by the paths that they have in its file."""
        own = re.compile(rf"\.{re.escape(name)}(?=\.|$)")  # of rows, it is the end of the path
        return {own.sub("", path): weight for path, weight in self.peft.named_parameters() if own.search(path)}

    def parameters(self, name: str) -> list[nn.Parameter]:
        """The weights of one adapter."""
        return list(self.named_parameters(name).values())

    def projection_rows(self, name: str | None) -> nn.Parameter | None:
        """(n, D) one adapter's own rows of the vocabulary projection, for its last n tokens; None where it has none."""
        projection: Any = self._base.get_output_embeddings()  # type: ignore[no-untyped-call]
        if name is None or not isinstance(projection, TrainableTokensWrapper):
            return None
        rows: nn.Parameter | None = projection.token_adapter.trainable_tokens_delta.get(name)
        return rows

    def _vocabulary_layers(self) -> list[str]:
        """The paths of the embeddings and of the projection to the vocabulary, also where they carry rows already."""
        layers = self._base.get_input_embeddings(), self._base.get_output_embeddings()  # type: ignore[no-untyped-call]
        return [path for path, module in self._base.named_modules() if any(module is layer for layer in layers)]


def _embed(layer: TrainableTokensLayer, tokens: Tensor, active: Sequence[str]) -> Tensor:
    """Embeddings (..., D) of tokens (...), those of the last n by the rows (n, D) of the adapter in force.

    It stands in the place of PEFT's own, which copies the whole weight for each forward, and so for each token sampled.
    """
    base: Any = layer.base_layer
    embedded: Tensor = base(tokens)
    if layer.disable_adapters or not active:
        return embedded
    rows: Tensor = layer.trainable_tokens_delta[active[0]]
    first = len(base.weight) - len(rows)
    own = F.embedding((tokens - first).clamp(min=0), rows.to(embedded.dtype)) * getattr(base, "embed_scale", 1)
    return torch.where((tokens < first)[..., None], embedded, own.to(embedded.dtype))


def _mean_of_adapters(path: str, weights: Sequence[Tensor]) -> Tensor:
    """One weight of the adapter whose B·A is the mean of theirs; rows of the vocabulary are averaged themselves."""
    if "lora_A" in path:
        return torch.cat(list(weights), 0)
    if "lora_B" in path:
        return torch.cat(list(weights), 1) / len(weights)
    return torch.stack(list(weights)).mean(0)


def _refuse_other(config: PeftConfig, directory: str) -> None:
    """ModelError for a saved configuration that would load more than itself."""
    # `megatron_config` names a module to import; what else is named here our layers would leave out
    if type(config) is not LoraConfig or config.megatron_config or config.use_dora or config.lora_bias:
        what, hint = "holds no plain low-rank adapter.", "Put back what the stage left there."
        raise ModelError(what, code="model/other-adapter", where=directory, hint=hint)


def lora_config(base: PreTrainedModel, lora: Lora, above: int) -> LoraConfig:
    """Adapters on the layers that the recipe names, but for the lowest `above`."""
    excluded = [re.escape(path) for path in _unfit(base)] if lora.targets == "all-linear" else []
    if above and (found := decoder_layers(base)):
        excluded.append(rf".*\b{re.escape(found[0])}\.({'|'.join(map(str, range(above)))})\..*")
    kinds = (getattr(module, "source_cls", type(module)) for module in base.modules())  # before they were quantised
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # PEFT divides by the rank and takes any number
        target_modules=lora.targets,
        exclude_modules="|".join(excluded) or None,
        lora_dropout=0.0,
        fan_in_fan_out=any(issubclass(kind, Conv1D) for kind in kinds),
        task_type="CAUSAL_LM",
    )


def _unfit(base: PreTrainedModel) -> Iterator[str]:
    """Paths of linear layers on which an adapter would not do what it does once it is merged, or nothing at all.

    State-space layers take the weights of some of their parts without calling them, routers give more than one tensor,
    what reads pictures or sound never sees a token, and what two layers share cannot take in what each has learnt.
    """
    modules = dict(base.named_modules())
    uses = Counter(id(module.weight) for module in modules.values() if isinstance(module, nn.Linear))
    inside = f".{LANGUAGE_MODEL}."
    is_composite = hasattr(base.base_model, LANGUAGE_MODEL)
    for path, module in modules.items():
        parent, _, name = path.rpartition(".")
        if isinstance(module, nn.Linear) and (
            "Router" in type(module).__name__
            or uses[id(module.weight)] > 1
            or name == "dt_proj"
            or (name == "out_proj" and f"{parent}.conv1d" in modules)
            or (is_composite and inside not in f".{path}.")
        ):
            yield path


def refuse_embeddings(peft: PeftModel) -> None:
    """RecipeError where an adapter is on the embeddings, or on a projection that is one with them.

    Merged into a weight that both sides use, what one of them learnt would change the other.
    """
    model: Any = peft.get_base_model()
    embeddings = model.get_input_embeddings()
    for path, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            if isinstance(layer.get_base_layer(), nn.Embedding):
                why = "is no linear layer"
            elif getattr(layer.get_base_layer(), "weight", None) is embeddings.weight:  # experts have no one weight
                why = "shares its weights with the embeddings"
            else:
                continue
            what = f"no adapter can be put on {path}, which {why}."
            hint = "Take it out of the list, or write all-linear."
            raise RecipeError(what, code="recipe/lora-target", where="lora.targets", hint=hint)
