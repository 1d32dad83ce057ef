"""The engine that a recipe names, opened for a stage."""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from truing.config.defaults import given
from truing.config.recipe import Recipe
from truing.core.errors import EngineError
from truing.data.encode import EncodedPrompt
from truing.models.load import LoadedBase
from truing.models.roles import Role
from truing.processes import group
from truing.rollout.engine import Engine
from truing.rollout.episodes import respond
from truing.rollout.local import LocalEngine
from truing.rollout.read_again import local_engine
from truing.rollout.server import ATTEMPTS, Server
from truing.rollout.vllm import VllmEngine
from truing.runs.files import remove

ADAPTERS = ".adapters"
"""In the directory of a stage, those that a server loads"""
PROBES = 8
"""Prompts whose answers, as the policy gives them at first, are the probe"""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for --max-lora-rank"""


@contextmanager
def open_engine(
    recipe: Recipe, policy: Role, base: LoadedBase, prompts: Sequence[EncodedPrompt], stage: Path
) -> Iterator[Engine]:
    """What answers these prompts by the policy in the block; `stage` is the directory of the stage.

    Raises:
        EngineError: no server of the policy's base is there.
    """
    if recipe.rollout.engine == "local":
        yield local_engine(policy, recipe)
        return
    engine = _vllm(recipe, policy, base, prompts, stage.absolute() / ADAPTERS)
    try:
        yield engine
    finally:
        engine.end()


def check_server(
    recipe: Recipe, policy: Role, base: LoadedBase, prompts: Sequence[EncodedPrompt], stage: str
) -> list[str]:
    """Asks once, before a run is begun, whether the server is there that is to answer these prompts in a stage.

    Args:
        recipe: that names it.
        policy: as it will be; its weights may be on the meta device.
        base: of the policy, as it will be.
        prompts: that it is to answer.
        stage: the name.

    Returns:
        A sentence where it says that it serves something else than the policy's base.

    Raises:
        EngineError: it is not, or reads too little.
    """
    longest, model, url = _longest(recipe, prompts), str(base.model.name_or_path), recipe.rollout.vllm.url
    why = f"{stage} samples there, and no stage is begun before it answers. "
    why += _how_to_start(recipe, policy, model, longest)
    served = _check_served(Server(url, recipe.rollout.vllm.seconds), longest, why, attempts=1)
    if not served or any(os.path.realpath(name) == os.path.realpath(model) for name in served):
        return []
    # A copy, or a directory that has another name on the server's machine, is as good: its probe tells.
    return [
        f"{stage}: {url} says that it serves {' and '.join(served)}, and what is to sample there is {model}: where "
        "these are not the same weights, the run ends at the stage's first probe, with what is before it paid for. "
        + _how_to_start(recipe, policy, model, longest)
    ]


def _vllm(
    recipe: Recipe, policy: Role, base: LoadedBase, prompts: Sequence[EncodedPrompt], adapters: Path
) -> VllmEngine:
    settings = recipe.rollout.vllm
    longest = _longest(recipe, prompts)
    how_to_start = _how_to_start(recipe, policy, str(base.model.name_or_path), longest)
    server = Server(settings.url, settings.seconds)

    def ready() -> None:
        _check_served(server, longest, how_to_start)
        if adapters.exists():  # left there by a run that was killed
            remove(adapters)

    group.on_owner(ready)
    said = respond(LocalEngine(policy), prompts[:PROBES], recipe, base, "probe")
    return VllmEngine(
        role=policy,
        server=server,
        settings=settings,
        name=f"truing-{secrets.token_hex(4)}",
        place=adapters,
        probe=replace(said.sequences, prefix_states=None),
        score_tokens=given(recipe.compute.score_tokens),
        how_to_start=how_to_start,
        max_staleness=recipe.rollout.max_staleness,
        behaviour=policy.twin("behaviour") if recipe.rollout.max_staleness else None,
    )


def _longest(recipe: Recipe, prompts: Sequence[EncodedPrompt]) -> int:
    """Tokens of the longest prompt with its response."""
    return max(len(prompt.tokens) for prompt in prompts) + recipe.longest_response


def _check_served(server: Server, longest: int, how_to_start: str, attempts: int = ATTEMPTS) -> list[str]:
    """Directories or names of the models it says it serves. EngineError where no vLLM server is there, or one that
    reads less than a prompt and its response.
    """
    where = server.url
    try:
        served = server.get("/v1/models", attempts)
    except EngineError as error:
        raise EngineError(**vars(error.problem) | {"hint": how_to_start}) from error
    try:
        models = [model for model in served["data"] if model.get("max_model_len")]
        reads = min(int(model["max_model_len"]) for model in models)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise EngineError("is no vLLM server.", code="engine/no-vllm", where=where, hint=how_to_start) from error
    if reads < longest:
        what = f"reads {reads} tokens, and a prompt with its response may have {longest}."
        raise EngineError(what, code="engine/short", where=where, hint=how_to_start)
    return [str(model["root"]) for model in models if model.get("root")]


def _how_to_start(recipe: Recipe, policy: Role, model: str, longest: int) -> str:
    """The command that starts the server that is wanted, and goes on.

    It names the layers that have an adapter: on CPUs, vLLM ends at a probe where the head may have one too.
    """
    assert policy.adapters is not None
    assert policy.adapter is not None
    layers = {path.split(".lora_")[0].rpartition(".")[2] for path in policy.adapters.named_parameters(policy.adapter)}
    rank = next((rank for rank in RANKS if rank >= recipe.lora.rank), recipe.lora.rank)
    port = urlsplit(recipe.rollout.vllm.url).port or 8000
    command = (
        f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve {model} --port {port} --dtype {recipe.compute.dtype} "
        f"--max-model-len {longest} --enable-lora --max-lora-rank {rank} --logprobs-mode processed_logprobs "
        f"--generation-config vllm --lora-target-modules {' '.join(sorted(layers))}"
    )
    if recipe.rollout.max_staleness:  # with room for fewer, those that draw wait for each other
        command += f" --max-loras {recipe.rollout.max_staleness + 1}"
    return f"Start one in an environment of its own, and give the same command again: {command}"
