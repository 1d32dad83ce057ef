"""Bases of which each process reads its part, held against the library's whole ones, inside a group of two."""

import json
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, Phi3Config, PreTrainedModel

from truing.config.sections import Base, Compute
from truing.core.errors import ModelError
from truing.models import arrival, layout
from truing.models import load as loading
from truing.models.load import LoadedBase, load_base
from truing.processes import group

SHAPES = {"untied": f"llama{tiny.IN_GROUPS}", "tied": f"qwen3{tiny.IN_GROUPS}", "gpt2": "gpt2"}
BROKEN = "model.layers.4.mlp.down_proj.weight"
"""Which has its last number, in the last process's rows, columns and layers, replaced by none"""


def write_bases(place: Path) -> None:
    """One of each shape, one in bfloat16 and several files, one without a pad, one broken, and a reward model."""
    for name, shape in SHAPES.items():
        tiny.directory(place / name, shape)
    tiny.directory(place / "grown", SHAPES["untied"], pad=None)
    model = tiny.model(SHAPES["untied"])
    AutoModelForSequenceClassification.from_config(model.config).save_pretrained(place / "classifier")
    model.to(torch.bfloat16).save_pretrained(place / "narrow", max_shard_size="5KB")
    fused = {**json.loads(model.config.to_json_string()), "model_type": "phi3", "architectures": None}
    with torch.random.fork_rng(devices=[]):
        AutoModelForCausalLM.from_config(Phi3Config(**fused)).save_pretrained(place / "fused")
    deep = tiny.model(SHAPES["untied"] + tiny.DEEP)
    deep.get_parameter(BROKEN).data[-1, -1] = torch.nan
    deep.save_pretrained(place / "broken")
    for name in ("narrow", "fused", "broken"):
        tiny.tokenizer().save_pretrained(place / name)


@contextmanager
def in_stages() -> Iterator[None]:
    """Inside, those that have met to share rows have layers one after the other instead."""
    with pytest.MonkeyPatch.context() as patched:
        met = group._peers
        assert met is not None
        place = replace(met.place, pipeline=met.place.size)
        patched.setattr(group, "_peers", type(met)(place, met._store))
        yield


def check_refusal(place: Path, compute: Compute) -> None:
    """That a number which is none is noticed by the process that keeps it, however few layers are read whole."""
    try:
        load_base(Base(path=str(place / "broken")), compute)
        refusal = None
    except ModelError as error:
        refusal = str(error)
    first, last = group.all_gather(refusal)
    assert first is None
    assert last is not None
    assert f"its weight {BROKEN} has entries that are no finite numbers" in last


def check(place: Path, compute: Compute) -> None:
    """That no process holds two whole weights of layers at once but its own, and all hold the library's, to the bit."""
    arrived: list[weakref.ref[torch.nn.Parameter]] = []

    def kept(keep: arrival.Keep, weight: torch.nn.Parameter, device: torch.device) -> torch.nn.Parameter | None:
        assert not [whole for whole in arrived if whole() is not None]
        arrived.append(weakref.ref(weight))
        return keep(weight, device)

    def counted(model: PreTrainedModel) -> dict[str, arrival.Keep]:
        return {path: partial(kept, keep) for path, keep in arrival.parts_to_keep(model).items()}

    def check_one(base: LoadedBase, whole: PreTrainedModel) -> None:
        assert len(arrived) >= 8, "it was read whole"
        arrived.clear()
        check_same(base, whole)

    def load(name: str) -> LoadedBase:
        base = layout.base_to_train(Base(path=str(place / name)), compute, by_adapter=False)
        assert str(place / name) not in Path("/proc/self/maps").read_text()  # a view of a file would hold on to it
        return base

    check_refusal(place, compute)
    with pytest.MonkeyPatch.context() as patched:
        for module in (loading, layout):
            patched.setattr(module, "parts_to_keep", counted)
        is_cut = group.tensor_size() > 1
        for name in ("untied", "tied", "narrow", "fused" if is_cut else "gpt2"):
            check_one(load(name), AutoModelForCausalLM.from_pretrained(place / name, dtype=torch.float32))
        base = load("grown")
        with group.alone():
            whole = load_base(Base(path=str(place / "grown")), compute, trains=True).model
        check_one(base, whole)
        backbone = layout._load_backbone(place / "classifier", base, compute, trains=True)
        check_one(backbone, AutoModelForSequenceClassification.from_pretrained(place / "classifier"))
        if is_cut:
            for by_adapter in (True, False):  # layers are not taken for others where they round, or are cast
                narrow = compute.model_copy(update={"dtype": "bfloat16"})
                layout.base_to_train(Base(path=str(place / "untied")), narrow, by_adapter)
            plan = Phi3Config.base_model_tp_plan | {
                "layers.*.mlp.gate_up_proj": "colwise",
                "layers.*.mlp.down_proj": "rowwise",
            }
            patched.setattr(Phi3Config, "base_model_tp_plan", plan)  # half of what stands for both
            with pytest.raises(ModelError, match=r"once its layers are cut, first in model.layers.0"):
                load("fused")


def check_same(base: LoadedBase, whole: PreTrainedModel) -> None:
    """That a base in parts has the weights and buffers of a whole model, and gives its hidden states."""
    weights, own = dict(whole.named_parameters()), dict(base.model.named_parameters())
    assert own.keys() == weights.keys()
    assert base.parts is not None
    for path, weight in own.items():
        part = base.parts.own_part(weight)
        kept = part.untyped_storage().nbytes()
        assert kept <= part.nbytes + part[:1].nbytes, path  # and so no view of all of it
        assert base.parts.has(weight) or kept == weight.element_size(), path
        assert weight.dtype == weights[path].dtype, path
        assert torch.equal(base.parts.whole(weight), weights[path]), path
    for (path, buffer), (_, expected) in zip(base.model.named_buffers(), whole.named_buffers(), strict=True):
        assert torch.equal(buffer, expected), path
    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    hidden = base.role().hidden(tokens, torch.ones_like(tokens))
    if base.parts.answers:
        torch.testing.assert_close(hidden, whole.base_model(tokens).last_hidden_state)
