"""Processes that have the layers of a model one after another."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from faults.killed import SHORT, left_behind
from processes.several import (
    MANY_UPDATES,
    SOON,
    assert_same_responses,
    assert_same_steps,
    is_gone,
    kill,
    ranks,
    said,
    start,
    wait_for_lines,
)
from torch import Tensor, nn

from truing.cli.run import refuse_odd_layout, run_command
from truing.config.sections import Base, Compute, Optimiser
from truing.core.batches import Sequences
from truing.core.errors import ModelError, RecipeError
from truing.core.rows import TokenRows
from truing.models.load import load_base
from truing.models.roles import MicroBatch
from truing.models.spread import check_sharding
from truing.models.stage_plan import layers_for_stages, order_of
from truing.runs.metrics import read_jsonl
from truing.training.learner import Learner

pytestmark = pytest.mark.long

FULL = {"roles": "separate", "sft.method": "full"}
STEPS: dict[str, Any] = SHORT | FULL | {"stages": ["sft"], "checkpoints.every_steps": 1, "sft.epochs": 12}
LONG = SHORT | FULL | MANY_UPDATES


def test_the_middle_one_is_killed_the_others_end_and_one_process_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path, shape=f"qwen{tiny.DEEP}", **STEPS)
    out, alone = tmp_path / "killed", tmp_path / "alone"
    going = start(recipe, out, 3, "--pp", "3")
    wait_for_lines(out / "sft" / "metrics.jsonl", 4, going)
    processes = ranks(going)
    kill(processes[1])
    assert going.wait(SOON) == 1, said(out)
    assert all(map(is_gone, processes))
    assert "process 1 was ended by SIGKILL" in said(out)
    for place in (out, alone):
        assert start(recipe, place, 1).wait(300) == 0, said(place)
    assert "sft: going on after step " in said(out)
    assert_same_steps(out / "sft", alone / "sft")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.recipe_file(tmp_path_factory.mktemp("stages"), shape=f"qwen3{tiny.IN_GROUPS}", **LONG)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> Path:
    out = recipe.parent / "undisturbed"
    assert start(recipe, out, 2, "--pp", "2").wait(300) == 0, said(out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_one_is_killed_and_the_run_goes_on_to_the_same_bytes(recipe: Path, undisturbed: Path, rank: int) -> None:
    out = recipe.parent / f"killed-{rank}"
    going = start(recipe, out, 2, "--pp", "2")
    wait_for_lines(out / "ppo" / "metrics.jsonl", 3, going)
    processes = ranks(going)
    kill(processes[rank])
    assert going.wait(SOON) == 1
    assert all(map(is_gone, processes))
    assert start(recipe, out, 2, "--pp", "2").wait(300) == 0, said(out)
    assert left_behind(out) == left_behind(undisturbed)


@pytest.mark.slow
def test_a_run_goes_on_in_other_layouts(recipe: Path, undisturbed: Path) -> None:
    """Its layers one half after the other, in one process, so for each half of the rows, and in slices."""
    out, lines = recipe.parent / "layouts", 2
    layouts: tuple[tuple[int, tuple[str, ...], int], ...] = (
        (2, ("--pp", "2"), 2),
        (1, (), 0),
        (4, ("--pp", "2"), 2),
        (2, ("--tp", "2"), 2),
        (2, ("--set", "compute.shard=true"), 2),
    )
    for processes, options, shards in layouts:
        going = start(recipe, out, processes, *options)
        wait_for_lines(out / "ppo" / "metrics.jsonl", lines + 1, going)
        going.send_signal(signal.SIGTERM)
        assert going.wait(SOON) == 128 + signal.SIGTERM, said(out)
        lines = len(read_jsonl(out / "ppo" / "metrics.jsonl"))
        (*_, last) = sorted((out / "ppo" / "checkpoints").glob("step-*"))
        assert len(list(last.glob("shard-*.safetensors"))) == shards
    assert start(recipe, out, 2, "--pp", "2").wait(300) == 0, said(out)
    assert_same_responses(out / "ppo", undisturbed / "ppo")


@pytest.mark.slow
def test_numbers_that_are_not_finite_are_told_once(recipe: Path) -> None:
    out = recipe.parent / "broken"
    going = start(recipe, out, 2, "--pp", "2", "--set", "sft.optimiser.learning_rate=1e9")
    assert going.wait(SOON) == 1, said(out)
    assert said(out).count("sft step ") == 1, said(out)


def test_a_model_with_fewer_layers_than_stages_is_refused_before_a_process_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("truing.cli.run.launch", lambda *_: pytest.fail("processes were started"))
    recipe = tiny.recipe_file(tmp_path, **{"stages": ["sft"]})
    with pytest.raises(ModelError, match="has 2 layers, which cannot be cut into 3 stages"):
        run_command(recipe, None, [], None, processes=3, pipeline=3)


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ((4, 2, 2), "layers that --tp cuts cannot be cut into stages too"),
        ((3, 1, 2), "2 stages need 2 processes"),
    ],
)
def test_processes_that_cannot_have_layers_one_after_another_are_refused(
    layout: tuple[int, int, int], told: str
) -> None:
    with pytest.raises(RecipeError, match=told):
        refuse_odd_layout(*layout)


def test_weights_are_not_spread_by_rows_too() -> None:
    with pytest.raises(RecipeError, match="true spreads weights that --pp has cut already"):
        check_sharding(Compute(shard=True), processes=2, tensor=1, pipeline=2)


@pytest.mark.parametrize(
    ("shape", "before", "behind"),
    [("llama", ["embed_tokens"], ["norm"]), ("gpt2", ["wte", "wpe"], ["ln_f"]), ("qwen", ["embed_tokens"], ["norm"])],
)
def test_what_stands_before_the_layers_and_what_behind_is_found(
    shape: str, before: list[str], behind: list[str]
) -> None:
    model = tiny.model(shape)
    inside = model.base_model
    order = order_of(model, [*layers_for_stages(model, 2)], lambda: inside(input_ids=torch.tensor([[3, 1, 4]])))
    assert [*order.before] == [getattr(inside, name) for name in before]
    assert [*order.behind] == [getattr(inside, name) for name in behind]
    assert (len(order.layers), order.width, order.tuples) == (2, 16, False)


def test_a_model_of_fewer_layers_than_stages_is_refused() -> None:
    with pytest.raises(ModelError, match="has 2 layers, which cannot be cut into 3 stages"):
        layers_for_stages(tiny.model(), 3)


@pytest.mark.parametrize(
    ("ahead", "order"), [(0, "F0 B0 F1 B1 F2 B2"), (1, "F0 F1 B0 F2 B1 B2"), (2, "F0 F1 F2 B0 B1 B2")]
)
def test_one_forward_and_one_backward_take_turns_once_those_behind_have_work(ahead: int, order: str) -> None:
    """Narayanan et al. 2021 (arXiv:2104.04473), figure 4: a stage begins as many more as there are behind it."""
    weight, turns, numbers = nn.Parameter(torch.ones(1)), list[str](), iter(range(3))
    trained = tiny.trained("policy", 0.1, weight)
    role: Any = trained.role
    role.ahead = ahead
    role.micro_batches = lambda counts, _: [MicroBatch([row]) for row in range(len(counts))]
    role.backward_of = lambda _: partial(turns.append, f"B{next(numbers)}")
    learner = Learner([trained], Optimiser(learning_rate=0.1), steps=1, token_budget=1)

    def loss(rows: Sequences) -> tuple[Tensor, dict[str, Tensor]]:
        turns.append(f"F{int(rows.tokens[0, 0])}")
        return weight.sum(), {}

    learner.forward_backward(TokenRows([(0,), (1,), (2,)], [(3,)] * 3, pad=4), loss)
    assert " ".join(turns) == order


STAGES = """
import sys
import torch
from truing.config.sections import Base, Compute
from truing.models.layout import base_to_train, trained_role
from truing.processes import group

with group.joined(pipeline=3):
    with group.alone():
        whole = base_to_train(Base(path=sys.argv[1]), Compute(), by_adapter=False).model.requires_grad_(True)
    tokens = torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]])
    base = base_to_train(Base(path=sys.argv[1]), Compute(), by_adapter=False)
    role, parts, weights = trained_role(base, "policy", None, 0), base.parts, dict(base.model.named_parameters())

    def loss_of(model, tokens):
        return model(tokens).square().mean()

    for cut in (slice(0, 4), slice(1, 3), slice(0, 4)):  # of other lengths, three before the first goes back
        loss_of(lambda tokens: whole.base_model(input_ids=tokens).last_hidden_state, tokens[:, cut]).backward()
    hidden = lambda tokens: role.hidden(tokens, torch.ones_like(tokens))
    under_way = []
    for cut in (slice(0, 4), slice(1, 3), slice(0, 4)):
        under_way.append(role.backward_of(loss_of(hidden, tokens[:, cut])))
        if len(under_way) > role.ahead:
            under_way.pop(0)()
    for backward in under_way:
        backward()
    for path, weight in whole.named_parameters():
        own = weights[path]
        if parts.has(own) and own.grad is not None:  # embeddings are in the last stage too, unused without logits
            torch.testing.assert_close(own.grad, weight.grad, atol=1e-5, rtol=1e-5)
        with role.in_step():
            assert torch.equal(parts.whole(own), weight)
    counted = [path for path, own in weights.items() if parts.has(own) and own.grad is not None]
    found = [path for paths in group.all_gather(counted) for path in paths]
    assert sorted(found) == sorted(path for path, _ in whole.named_parameters())

    kept = lambda: sum(own.untyped_storage().nbytes() // 4 for own in weights.values())
    held = [kept()]
    with role.gathered(), torch.no_grad():
        assert torch.equal(hidden(tokens), whole.base_model(input_ids=tokens).last_hidden_state)
        held.append(kept())
    held.append(kept())
    print(*held, sep=",", end=" ", flush=True)
"""


@pytest.mark.slow
def test_each_of_three_stages_has_its_layers_and_their_gradients_and_the_whole_model_while_it_is_gathered(
    tmp_path: Path,
) -> None:
    base = tiny.directory(tmp_path / "base", f"qwen{tiny.DEEP}")
    (tmp_path / "stages.py").write_text(STAGES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    command += [str(tmp_path / "stages.py"), str(base)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    model: Any = load_base(Base(path=str(base)), Compute()).model
    layer, end = (
        sum(weight.numel() for weight in part.parameters()) for part in (model.model.layers[0], model.lm_head)
    )
    absent = len(list(model.parameters()))  # of these, one number each
    counts = sorted(tuple(map(int, found.split(","))) for found in ran.stdout.split())
    for (before, gathered, after), expected in zip(counts, (layer + end + 16, 2 * layer, 2 * layer + end), strict=True):
        assert before == after
        assert expected < before <= expected + absent
        assert gathered == model.num_parameters()
