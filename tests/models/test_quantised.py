"""A base in 4 bit: refused with the hint where it cannot be, and otherwise the levels of the paper and one policy."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from truing.config.recipe import Recipe
from truing.config.sections import Base, Compute, Lora
from truing.core.batches import Sequences
from truing.core.errors import ModelError, RecipeError
from truing.core.results import to_json
from truing.models.layout import trained_role
from truing.models.load import load_base
from truing.models.quantised import check_quantisation
from truing.models.scoring import response_logprobs
from truing.rollout.engine import Sampling
from truing.runs.metrics import read_jsonl
from truing.stages.ppo import train_ppo
from truing.stages.reward import train_reward
from truing.stages.sft import train_sft

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [10, 11]]
BATCH = Sequences.collate(PROMPTS, [[9, EOS], [10, 11, 12, 13, EOS], [14], [15, 16, EOS]], PAD)
LEVELS = torch.tensor(  # Dettmers et al. 2023, appendix E
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
        *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
        *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)


WIDTH = 64
"""Of the models here: some of the library's kernels need whole blocks"""


def _load(place: Path, shape: str = "llama") -> Any:
    path = str(tiny.directory(place, shape, width=WIDTH))
    return load_base(Base(path=path, quantize="nf4"), Compute(device="cpu"))


def _refused(place: Path) -> str:
    with pytest.raises(RecipeError) as refusal:
        _load(place)
    assert refusal.value.exit_code == 2
    return str(refusal.value)


def test_without_bitsandbytes_it_is_refused_with_the_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    told = _refused(tmp_path)
    assert told.startswith("base.quantize: nf4 needs bitsandbytes, which cannot be imported (")
    assert told.endswith("). pip install 'truing[quant]', or set it to none.")


class _Unsupported(nn.Linear):
    """A 4-bit layer on hardware for which the library has no kernels."""

    def __init__(self, wide: int, high: int, bias: bool, compute_dtype: torch.dtype, quant_type: str) -> None:
        super().__init__(wide, high, bias)

    def forward(self, rows: Tensor) -> Tensor:
        raise RuntimeError("no kernel image is available.\nAsk elsewhere.")


class _Wrong(_Unsupported):
    """One whose kernels compute something else."""

    def forward(self, rows: Tensor) -> Tensor:
        return nn.functional.linear(rows, self.weight) * 1.5


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(_Unsupported, "no kernel image is available"), (_Wrong, "products of width 64 are wrong by 50%")],
)
def test_hardware_that_cannot_compute_in_4_bit_is_refused_by_trying(
    layer: type, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace(nn=SimpleNamespace(Linear4bit=layer)))
    told = _refused(tmp_path)
    assert told.startswith(f"base.quantize: bitsandbytes does not compute in 4 bit on this cpu device ({reason}).")
    assert told.endswith("Set it to none, or compute.device to one that bitsandbytes supports.")


class _WrongGradient(_Unsupported):
    """One whose product is right as long as its width is that of a block, and whose gradient is not."""

    def forward(self, rows: Tensor) -> Tensor:
        product = nn.functional.linear(rows, self.weight)
        return product if rows.shape[1] == 64 else product.detach() + 0 * product


def test_every_width_is_tried_forward_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace(nn=SimpleNamespace(Linear4bit=_WrongGradient)))
    check_quantisation(torch.device("cpu"), [64])
    for width in (48, 96):
        with pytest.raises(RecipeError, match=rf"products of width {width} are wrong by 100%"):
            check_quantisation(torch.device("cpu"), [64, width])


@pytest.fixture
def installed() -> None:
    """The extra `quant` is there, or the test is left out."""
    pytest.importorskip("bitsandbytes")


def _nearest_levels(weight: Tensor) -> Tensor:
    """Each block of 64 weights as its largest, times the nearest level."""
    blocks = weight.reshape(-1, 64)
    scale = blocks.abs().amax(1, keepdim=True)
    nearest = (blocks[..., None] / scale[..., None] - LEVELS).abs().argmin(-1)
    return (LEVELS[nearest] * scale).reshape(weight.shape)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_weights_are_the_nearest_levels_of_the_paper(shape: str, tmp_path: Path) -> None:
    plain, quantised = tiny.model(shape, width=WIDTH), _load(tmp_path, shape).model
    layers = {name: layer for name, layer in quantised.named_modules() if type(layer).__name__ == "Linear4bit"}
    assert len(layers) == {"gpt2": 8}.get(shape, 14)  # in two decoder layers
    for name, layer in layers.items():
        weight = plain.get_submodule(name).weight.detach()
        weight = weight.t().contiguous() if shape == "gpt2" else weight
        with torch.no_grad():
            found = layer(torch.eye(weight.shape[1])).t() - (0 if layer.bias is None else layer.bias[:, None])
        # The scales themselves are held in 8 bit.
        torch.testing.assert_close(found, _nearest_levels(weight), rtol=0.03, atol=1e-3)
    for of in ("get_input_embeddings", "get_output_embeddings"):
        whole, found = (getattr(model, of)().weight for model in (plain, quantised))
        assert torch.equal(found[: len(whole)], whole)  # its rows, where a token was added


@pytest.mark.skipif(sys.platform != "linux", reason="only there it is told what is mapped")
@pytest.mark.usefixtures("installed")
def test_the_file_with_all_weights_in_full_is_let_go_of(tmp_path: Path) -> None:
    base = _load(tmp_path)
    assert base.model.dtype == torch.float32
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


@pytest.mark.usefixtures("installed")
def test_weights_that_are_no_numbers_are_refused_though_in_4_bit_they_might_pass_for_some(tmp_path: Path) -> None:
    file, name = tiny.directory(tmp_path, width=WIDTH) / "model.safetensors", "model.layers.1.mlp.down_proj.weight"
    weights = load_file(file)
    weights[name][3, 3] = torch.nan
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=name, check=lambda error: error.code == "model/not-finite"):
        load_base(Base(path=str(tmp_path), quantize="nf4"), Compute(device="cpu"))


@pytest.mark.usefixtures("installed")
def test_sampling_and_learning_follow_one_policy_and_gradients_arrive_after_it(tmp_path: Path) -> None:
    role = trained_role(_load(tmp_path), "policy", Lora(rank=2), seed=1)
    gradients = []
    for _ in range(2):
        for weight in role.parameters():
            weight.grad = None
        response_logprobs(role, BATCH).sum().backward()
        gradients.append([weight.grad.clone() for weight in role.parameters() if weight.grad is not None])
        rollout = tiny.sample(role, PROMPTS * 4, Sampling(8, 1.0, (EOS,), PAD, 64), 0, "test", range(16))
        found = response_logprobs(role, rollout.sequences)[rollout.sequences.response_mask].detach()
        torch.testing.assert_close(rollout.logprobs[rollout.sequences.response_mask], found, atol=2e-5, rtol=0)
    assert len(gradients[0]) == len(role.parameters())
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def _merged(base: Path, adapter: Path) -> dict[str, Tensor]:
    """The weights of `base` in full precision, and B·A·alpha/rank added to those that the adapter changes."""
    weights, learnt = load_file(base / "model.safetensors"), load_file(adapter / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    for name in [name for name in learnt if "lora_A" in name]:
        update = learnt[name.replace("lora_A", "lora_B")] @ learnt[name] * config["lora_alpha"] / config["r"]
        place = name.removeprefix("base_model.model.").replace(".lora_A", "")
        weights[place] = weights[place] + (update.t() if config["fan_in_fan_out"] else update)
    return weights


def _recipe(place: Path, shape: str) -> Recipe:
    recipe = tiny.recipe(place, shape, **{"base.quantize": "nf4", "evaluation.every": 1})
    tiny.directory(place / "base", shape, width=WIDTH)
    return recipe


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_every_stage_learns_on_it_and_saves_what_it_learnt_in_full_precision(shape: str, tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, shape)
    sft, reward = (tiny.job(recipe, tmp_path, name) for name in ("sft", "reward"))
    result = to_json(train_sft(sft))
    assert result["heldout_loss"] < result["heldout_loss_before"] - 0.5
    assert to_json(train_reward(reward))["heldout_accuracy"] == 1.0
    ppo = tiny.job(recipe, tmp_path, "ppo", reward.directory.root)
    train_ppo(ppo)
    metrics = read_jsonl(ppo.directory.metrics)
    assert abs(metrics[0]["heldout_kl"]) < 1e-4
    assert all(row["ratio_max_deviation"] < 1e-5 for row in metrics[1:])
    for job in (sft, ppo):
        expected, found = (
            _merged(tmp_path / "base", job.directory.adapter),
            load_file(job.directory.model / "model.safetensors"),
        )
        assert expected.keys() == found.keys()
        for name, weight in expected.items():  # its rows, where a token was added
            torch.testing.assert_close(found[name][: len(weight)], weight, atol=1e-5, rtol=1e-5)
        assert "quantization_config" not in json.loads((job.directory.model / "config.json").read_text())


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_adapters_of_ours_are_asked_and_kept_on_it(shape: str, dtype: str, tmp_path: Path) -> None:
    path = str(tiny.directory(tmp_path, shape, width=WIDTH))
    compute = Compute.model_validate({"device": "cpu", "dtype": dtype})
    assert load_base(Base(path=path, quantize="nf4"), compute).backend.slow_in == ""
