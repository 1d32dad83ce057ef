"""Tiny models with random weights, of the shapes that people bring, a tokenizer of characters for them, and rows."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import gguf
import torch
from letters import letter_a as letter_a
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from truing.config import resolved_yaml
from truing.config.defaults import ON_CPU, given
from truing.config.dotted import assign
from truing.config.recipe import Recipe
from truing.config.sections import Base, Source
from truing.config.stages import STAGES
from truing.core.experience import Rollout
from truing.data.batching import plan_by_tokens
from truing.data.chat import TextFormat
from truing.data.endings import endings_of
from truing.data.prepared import Prepared, prepare
from truing.data.prompts import PromptSet
from truing.models.layout import PpoRoles, RewardModelFiles, Roles
from truing.models.load import LoadedBase, load_base, outline_base
from truing.models.roles import MicroBatch, Role
from truing.rewards.build import build_reward
from truing.rollout.ahead import Rollouts
from truing.rollout.engine import Sampling
from truing.rollout.environment import Environment
from truing.rollout.episodes import as_rollout
from truing.rollout.local import LocalEngine
from truing.runs.directory import StageDirectory
from truing.runs.interruption import Interruption
from truing.runs.progress import SilentProgress
from truing.runs.trackers import open_tracker
from truing.stages.objective import Objective
from truing.stages.ppo import ppo_objective
from truing.stages.update import Update
from truing.training.job import Job
from truing.training.learner import Learner, Trained

LETTERS = "abcdefghijklmnopqrstuvwxyz .,:!?"
EOS = "<|end|>"
TODAY = date(2026, 1, 1)
VOCABULARY = len(LETTERS) + 2
SHAPES = ("llama", "gpt2", "qwen", "gemma")
IN_GROUPS = "-in-groups"
"""Of a shape with several heads of keys and values, which two processes can share out"""
DEEP = "-deep"
"""Of a shape with five layers, which three processes can have one after another"""
_ON_OWN_RESPONSES: dict[str, Any] = {
    "updates": 2,
    "episodes": 8,
    "epochs": 2,
    "minibatches": 2,
    "optimiser.learning_rate": 1e-3,
}
_ON_ROWS: dict[str, Any] = {"epochs": 1, "batch_size": 32, "optimiser.learning_rate": 5e-5}
WITHOUT_CRITIC = ("grpo", "rloo", "reinforce")
SMALL: dict[str, Any] = ON_CPU | {
    "lora.rank": 2,
    "sft.batch_size": 8,
    "sft.epochs": 2,
    "sft.optimiser.learning_rate": 1e-2,
    "reward.batch_size": 8,
    "reward.epochs": 2,
    "reward.optimiser.learning_rate": 1e-2,
    "rewards.normalisation_samples": 8,
    "rollout.max_new_tokens": 6,
    "evaluation.prompts": 4,
    "on_unsound_reward": "go_on",
    "compute.threads": 1,
    "grpo.responses_per_prompt": 4,
    **{
        f"{spec.name}.{key}": value
        for spec in STAGES.values()
        if spec.makes_policy
        for key, value in (_ON_OWN_RESPONSES if spec.must_be_scored else _ON_ROWS).items()
    },
}
"""What makes a recipe tiny"""


def tokenizer(pad: str | None = "<|pad|>", letters: str = LETTERS) -> PreTrainedTokenizerFast:
    """One token a letter; `pad` may be None, or eos itself."""
    tokens = [*letters, EOS] if pad in (None, EOS) else [*letters, EOS, pad]
    words = {token: index for index, token in enumerate(tokens)}
    inner = Tokenizer(models.WordLevel(words, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=EOS, pad_token=pad)


def text_format(words: PreTrainedTokenizerFast, declared: Sequence[Sequence[int]] = ()) -> TextFormat:
    """How text becomes its tokens, for a model whose configs declare these ends."""
    return TextFormat(words, endings_of(words, declared), TODAY)


def model(shape: str = "llama", seed: int = 0, vocabulary: int = VOCABULARY, width: int = 16) -> PreTrainedModel:
    """A causal language model with random weights, large enough to tell positions apart."""
    pad = len(LETTERS) + 1 if vocabulary == VOCABULARY else None
    common = {"vocab_size": vocabulary, "eos_token_id": len(LETTERS), "pad_token_id": pad, "bos_token_id": None}
    narrow = common | {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    if shape.endswith(DEEP):
        shape, narrow = shape.removesuffix(DEEP), narrow | {"num_hidden_layers": 5}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if shape == "gpt2":
            config = GPT2Config(**common, n_embd=width, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3)
            return GPT2LMHeadModel(config).eval()
        if shape == "gemma":
            return Gemma2ForCausalLM(Gemma2Config(**narrow, head_dim=width // 2)).eval()
        if shape == "qwen":
            return Qwen2ForCausalLM(Qwen2Config(**narrow, tie_word_embeddings=True)).eval()
        if shape.endswith(IN_GROUPS):
            narrow |= {"num_attention_heads": 4, "num_key_value_heads": 2}
        if shape.startswith("qwen3"):
            narrow |= {"tie_word_embeddings": True, "attention_bias": True}
            return Qwen3ForCausalLM(Qwen3Config(**narrow, head_dim=width // 4)).eval()
        return LlamaForCausalLM(LlamaConfig(**narrow)).eval()


def directory(place: Path, shape: str = "llama", pad: str | None = "<|pad|>", width: int = 16) -> Path:
    """Model and tokenizer, saved as a Hugging Face directory."""
    place.mkdir(parents=True, exist_ok=True)
    for name, content in _saved(shape, pad, width).items():
        (place / name).write_bytes(content)
    return place


@cache
def _saved(shape: str, pad: str | None, width: int) -> dict[str, bytes]:
    """The files of such a directory, made once in a process: a hundred tests ask for the same one."""
    words = tokenizer(pad)
    with TemporaryDirectory() as place:
        model(shape, vocabulary=len(words), width=width).save_pretrained(place)
        words.save_pretrained(place)
        return {file.name: file.read_bytes() for file in Path(place).iterdir()}


def gguf_directory(place: Path) -> Path:
    """The llama and its tokenizer as `model.gguf`, in 32-bit floats, and nothing beside it."""
    place.mkdir(parents=True)
    words, weights = tokenizer(), model().state_dict()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    writer = gguf.GGUFWriter(str(place / "model.gguf"), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_block_count(2)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token.replace(" ", "\u2581") for token in words.convert_ids_to_tokens(range(VOCABULARY))])
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(LETTERS) + [gguf.TokenType.CONTROL] * 2)
    writer.add_unk_token_id(len(LETTERS) - 1)
    writer.add_bos_token_id(len(LETTERS))
    writer.add_eos_token_id(len(LETTERS))
    writer.add_pad_token_id(len(LETTERS) + 1)
    for name, weight in weights.items():
        heads = {"q_proj": 2, "k_proj": 1}.get(name.split(".")[-2])
        if heads is not None:  # llama.cpp turns neighbours, transformers the two halves of a head
            weight = weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return place


def classifier(place: Path, labels: int = 1, pad: str | None = "<|pad|>") -> Path:
    """A sequence-classification model whose tokenizer numbers the letters backwards, as a Hugging Face directory."""
    words = tokenizer(pad, LETTERS[::-1])
    config = model(vocabulary=len(words)).config
    config.num_labels = labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        LlamaForSequenceClassification(config).save_pretrained(place)
    words.save_pretrained(place)
    return place


def write_rows(place: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """JSON lines."""
    place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return place


def demonstrations(count: int = 24) -> list[dict[str, str]]:
    """Different prompts, and one of two short answers to each."""
    return [{"prompt": prompt, "completion": ("aha.", "oho.")[i % 2]} for i, prompt in enumerate(_prompts(count))]


def preferences(count: int = 24) -> list[dict[str, str]]:
    """Pairs whose chosen side says 'a' and whose rejected side says 'z'."""
    sides = [("aa" + "b" * (i % 3), "zz" + "y" * (i % 2)) for i in range(count)]
    return [{"prompt": p, "chosen": c, "rejected": r} for p, (c, r) in zip(_prompts(count), sides, strict=True)]


def ratings(count: int = 24) -> list[dict[str, Any]]:
    """Each side of such pairs by itself, with its label."""
    return [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for pair in preferences(count)
        for side in ("chosen", "rejected")
    ]


def _prompts(count: int) -> list[str]:
    return [f"{LETTERS[i % 26]}{LETTERS[i // 26]}{' ' * (i % 2)}{'e' * (i % 3)}?" for i in range(count)]


def recipe(place: Path, shape: str = "llama", pad: str | None = "<|pad|>", **changes: Any) -> Recipe:
    """Every stage in seconds, on a model and rows written to `place`; `changes` are dotted keys of the recipe."""
    place.mkdir(parents=True, exist_ok=True)
    directory(place / "base", shape, pad)
    document = Recipe().model_dump() | {"base": Base(path=str(place / "base")).model_dump()}
    files = {
        "demonstrations": write_rows(place / "demonstrations.jsonl", demonstrations()),
        "preferences": write_rows(place / "preferences.jsonl", preferences()),
    }
    if "kto" in changes.get("stages", ()):
        files["ratings"] = write_rows(place / "ratings.jsonl", ratings())
    data = {f"data.{name}": Source(path=str(path)).model_dump() for name, path in files.items()}
    for key, value in (data | SMALL | changes).items():
        assign(document, key, value)
    return Recipe.model_validate(document)


def recipe_file(place: Path, **changes: Any) -> Path:
    """The same as a file in `place`."""
    path = place / "recipe.yaml"
    path.write_text(resolved_yaml(recipe(place, **changes)), encoding="utf-8")
    return path


def load(of: Recipe) -> LoadedBase:
    """The base of a recipe."""
    assert of.base is not None
    return load_base(of.base, of.compute)


def prepared(of: Recipe) -> Prepared:
    """The rows of a recipe as tokens."""
    assert of.base is not None
    base = outline_base(of.base, of.compute)
    return prepare(of, base.text_format(of.data), base.context)


def job(of: Recipe, place: Path, kind: str, reward: Path | None = None) -> Job:
    """A stage of a recipe on its own, which begins with the base; `reward` is the directory of a reward stage."""
    assert of.base is not None
    files = StageDirectory(place / kind)
    files.root.mkdir(parents=True, exist_ok=True)
    return Job(
        name=kind,
        spec=STAGES[kind],
        recipe=of,
        directory=files,
        start=of.base,
        reward=None if reward is None else RewardModelFiles(reward / "model", reward / "adapter"),
        rows=prepared(of),
        progress=SilentProgress(),
        tracker=open_tracker([], kind, place),
        stop=Interruption(),
    )


def ppo_update(of: Recipe, roles: PpoRoles, prompts: PromptSet | None = None, reward: Any = None) -> Update:
    """The updates of a PPO stage on these roles, one by one."""
    return update_of(of, roles, ppo_objective(of, roles), prompts, reward)


def update_of(
    of: Recipe,
    roles: Roles,
    objective: Objective,
    prompts: PromptSet | None = None,
    reward: Any = None,
    environment: Environment | None = None,
) -> Update:
    """Those of a stage with this objective."""
    settings, asked = objective.settings, prompts or prepared(of).prompts(of)
    steps = settings.updates * settings.epochs * settings.minibatches
    learner = Learner(objective.trained, settings.optimiser, steps, given(of.compute.learn_tokens))
    scores = reward or build_reward(of, roles, asked)
    sizes = settings.episodes, settings.responses_per_prompt, settings.updates
    rollouts = Rollouts(of, roles.base, asked, LocalEngine(roles.policy), *sizes, environment)
    return Update(of, roles, objective, rollouts, scores, learner)


def trained(name: str, rate: float, *weights: torch.nn.Parameter) -> Trained:
    """Weights that learn without a model around them."""
    role: Any = SimpleNamespace(
        model=SimpleNamespace(device=torch.device("cpu")),
        adapter=None,
        parts=None,
        ahead=0,
        is_in_parts=False,
        in_step=nullcontext,
        backward_of=lambda loss: loss.backward,
        micro_batches=lambda counts, budget: [MicroBatch(rows) for rows in plan_by_tokens(counts, budget)],
        named_parameters=lambda: {f"weight.{place}": weight for place, weight in enumerate(weights)},
    )
    return Trained(name, role, rate)


def sample(
    role: Role, prompts: Sequence[Sequence[int]], sampling: Sampling, seed: int, purpose: str, ids: Sequence[int]
) -> Rollout:
    """Responses of a role of this process, each its own group."""
    completions = LocalEngine(role).generate(prompts, ids, sampling, seed, purpose)
    return as_rollout(prompts, completions, list(ids), sampling.pad)


CHAT = (
    "{% for message in messages %}<|start|>{{ message.content }}<|stop|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>{% endif %}"
)
CHAT_TOKENS = (VOCABULARY, VOCABULARY + 1)
"""<|stop|>, which is eos, and <|start|>: what a chat recipe's tokenizer has and its model lacks"""


def chat_recipe(place: Path, shape: str = "llama", count: int = 24, **changes: Any) -> Recipe:
    """A recipe of conversations, on a base for plain text whose tokenizer was given the tokens of a chat template."""
    made = recipe(place, shape, **changes)
    words = tokenizer()
    words.add_special_tokens({"eos_token": "<|stop|>", "additional_special_tokens": ["<|start|>"]})
    words.chat_template = CHAT
    words.save_pretrained(place / "base")
    asked = [[{"role": "user", "content": prompt}] for prompt in _prompts(count)]
    said = [[{"role": "assistant", "content": text}] for text in ("aha.", "oho.")]
    rows = [{"messages": [*question, *said[i % 2]]} for i, question in enumerate(asked)]
    pairs = [{"prompt": question, "chosen": said[0], "rejected": said[1]} for question in asked]
    write_rows(place / "demonstrations.jsonl", rows)
    write_rows(place / "preferences.jsonl", pairs)
    return made
