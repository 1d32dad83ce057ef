"""Models with random weights in known shapes, and PPO's roles and update on them: nothing is read from a disk."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from harness.material import EOS, PAD, words
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, Qwen2Config

from truing.config.recipe import Recipe
from truing.config.sections import Compute
from truing.config.variants import with_changes
from truing.core.normalisation import Normalisation
from truing.core.records import Sample
from truing.data.encode import EncodedPrompt
from truing.data.endings import Endings
from truing.data.prompts import PromptSet
from truing.kernels.precision import Precision
from truing.models.context import context_length
from truing.models.device import device_of, precision_of
from truing.models.exactness import exact_backend
from truing.models.heads import scalar_head
from truing.models.layout import PpoRoles
from truing.models.load import LoadedBase, prepare
from truing.preflight.held_by_recipe import numbers_on
from truing.preflight.layouts import ONE_PROCESS, Numbers, Shape
from truing.preflight.shapes import shape_of
from truing.preflight.sizes import sizes_of
from truing.rollout.ahead import Rollouts
from truing.rollout.selection import open_engine
from truing.stages.ppo import ppo_objective
from truing.stages.update import Update
from truing.training.learner import Learner

EOS_TOKEN, PAD_TOKEN = 1, 0


@dataclass(frozen=True)
class Work:
    """Sizes of an update."""

    episodes: int
    prompt_tokens: int
    response_tokens: int
    epochs: int = 1
    minibatches: int = 4


def _config(
    kind: Callable[..., PreTrainedConfig], layers: int, width: int, inner: int, heads: int, groups: int, **more: Any
) -> PreTrainedConfig:
    return kind(
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        max_position_embeddings=2048,
        eos_token_id=EOS_TOKEN,
        pad_token_id=PAD_TOKEN,
        bos_token_id=None,
        **more,
    )


def configs() -> dict[str, tuple[PreTrainedConfig, Work]]:
    """The shapes that are measured, by the names of the models they are those of."""
    qwen: dict[str, Any] = {"vocab_size": 151_936, "tie_word_embeddings": True}
    return {
        "SmolLM2-135M": (
            _config(LlamaConfig, 30, 576, 1536, 9, 3, vocab_size=49_152, tie_word_embeddings=True),
            Work(512, 128, 128),
        ),
        "Qwen2.5-1.5B": (_config(Qwen2Config, 28, 1536, 8960, 12, 2, **qwen), Work(512, 128, 128)),
        "Qwen2.5-7B": (
            _config(Qwen2Config, 28, 3584, 18_944, 28, 4, vocab_size=152_064, tie_word_embeddings=False),
            Work(256, 128, 128),
        ),
    }


def tiny_configs() -> dict[str, tuple[PreTrainedConfig, Work]]:
    """A shape with which all of it takes seconds on a CPU."""
    return {"tiny": (_config(LlamaConfig, 2, 16, 32, 2, 1, vocab_size=64, initializer_range=0.3), Work(8, 4, 6))}


@dataclass
class Lengths:
    """A reward that costs nothing, and tells responses apart."""

    normalisations: dict[str, Any] = field(default_factory=dict)

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """The sum of the tokens, by their last digits."""
        return [sum(token % 10 for token in sample.response_tokens) / 10 for sample in samples]


@dataclass(frozen=True)
class Subject:
    """A model as the roles of PPO, and the recipe of its update."""

    recipe: Recipe
    roles: PpoRoles
    prompts: PromptSet
    work: Work
    shape: Shape
    """Of the base before it had adapters, which are counted by themselves"""
    numbers: Numbers

    @contextmanager
    def update(self) -> Iterator[Update]:
        """The updates of the stage."""
        recipe, objective = self.recipe, ppo_objective(self.recipe, self.roles)
        assert recipe.compute.learn_tokens is not None
        learner = Learner(objective.trained, recipe.ppo.optimiser, 100, recipe.compute.learn_tokens)
        with open_engine(recipe, self.roles.policy, self.roles.base, self.prompts.train, Path()) as engine:
            settings = recipe.ppo
            sizes = settings.episodes, settings.responses_per_prompt, settings.updates
            rollouts = Rollouts(recipe, self.roles.base, self.prompts, engine, *sizes)
            yield Update(recipe, self.roles, objective, rollouts, Lengths(), learner)


def base_of(config: PreTrainedConfig, device: torch.device, precision: Precision) -> LoadedBase:
    """A base with random weights, the same on every device, as `load_base` makes one ready."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=precision.parameters)  # type: ignore[no-untyped-call]
    backend = prepare(model.eval(), precision)
    backend, notes = exact_backend(model, backend, PAD_TOKEN)
    ends = Endings((EOS_TOKEN,), (EOS_TOKEN,), (EOS_TOKEN,), (EOS_TOKEN,))
    tokenizer = words(config.vocab_size)  # type: ignore[attr-defined]
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, EOS)
    return LoadedBase(model, tokenizer, context_length(model), ends, frozenset(), notes=tuple(notes), backend=backend)


def subject(config: PreTrainedConfig, work: Work, device: str) -> Subject:
    """Policy, critic and reference as adapters on one base, with what the device is given by default."""
    recipe = Recipe.model_validate(
        {
            "base": {"path": "random"},
            "stages": ["ppo"],
            "data": {"max_length": work.prompt_tokens + work.response_tokens},
            "rollout": {"max_new_tokens": work.response_tokens},
            "ppo": {
                "episodes": work.episodes,
                "epochs": work.epochs,
                "minibatches": work.minibatches,
                "optimiser": {"learning_rate": 1e-5},
            },
            "compute": {"device": device},
        }
    )
    compute = Compute(device=device)
    base = base_of(config, device_of(compute), precision_of(compute, trains=False))
    recipe = with_changes(recipe, sizes_of(recipe, ["ppo"], lambda: base.model))
    shape, length = shape_of(base.model), work.prompt_tokens + work.response_tokens
    numbers = numbers_on(base.model.device, recipe, "ppo", ONE_PROCESS, length, base.model)
    adapters = base.adapters(recipe.lora, recipe.seed)
    adapters.add("policy")
    adapters.add("critic")
    roles = PpoRoles(
        base=base,
        policy=base.role(adapters=adapters, adapter="policy"),
        reference=base.role(adapters=adapters),
        reward=None,
        normalisation=Normalisation(),
        critic=base.role(adapters=adapters, adapter="critic", head=scalar_head(base.model, recipe.seed, bias=True)),
    )
    known = int(config.vocab_size)  # type: ignore[attr-defined]
    texts = torch.randint(2, known, (work.episodes, work.prompt_tokens), generator=torch.Generator().manual_seed(0))
    prompts = PromptSet([EncodedPrompt("", tuple(text)) for text in texts.tolist()], [])
    return Subject(recipe, roles, prompts, work, shape, numbers)
