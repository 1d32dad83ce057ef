"""Reading rows side by side: equal prompts once, and whole rows again where a model has no cache."""

import pytest
import tiny
import torch
from transformers import PreTrainedModel

from truing.models.decoding import Decoder
from truing.models.roles import Role

PAD = len(tiny.LETTERS) + 1
PROMPTS = [[1, 2, 3], [4], [1, 2, 3]]
SAID = [[7, 8], [9, 10], [11, 12]]


class _Forgetful(torch.nn.Module):
    """A model that keeps no cache of what it has read."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model, self.device = model, model.device
        self.base_model = self.forget

    def forget(self, **arguments: object) -> object:
        assert arguments.pop("past_key_values") is None
        output = self.model.base_model(**arguments | {"use_cache": False})
        return output


@pytest.mark.parametrize("cached", [True, False])
@torch.no_grad()
def test_states_are_those_of_each_row_alone(cached: bool) -> None:
    model = tiny.model()
    role = Role(model if cached else _Forgetful(model))  # type: ignore[arg-type]
    decoder = Decoder(role, PROMPTS, PAD, new_tokens=2)
    rows = [list(prompt) for prompt in PROMPTS]
    alive = [0, 1, 2]
    for step, going in enumerate(([True, True, True], [True, False, True])):
        alive = [alive[place] for place in decoder.keep(going)]
        decoder.read(torch.tensor([SAID[row][step] for row in alive]))
        for place, row in enumerate(alive):
            rows[row].append(SAID[row][step])
            alone = model.model(torch.tensor([rows[row]])).last_hidden_state[0, -1]
            torch.testing.assert_close(decoder.state[place], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_equal_prompts_are_read_once() -> None:
    model, read = tiny.model(), []
    model.model.embed_tokens.register_forward_hook(lambda _, given, __: read.append(given[0].numel()))
    Decoder(Role(model), [[1, 2, 3]] * 6, PAD, new_tokens=1)
    assert read == [3]
