"""The proofs have six tokens to their vocabulary, where a run has fifty thousand."""

from collections.abc import Iterator

import pytest
from jaxtyping import config

from truing.kernels import vocabulary


@pytest.fixture(scope="module", autouse=True)
def all_logits_at_once() -> Iterator[None]:
    """In parts as small as a real vocabulary needs, which change no result, the proofs take twice the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "LOGIT_POSITIONS", 100_000)
        patch.setattr(vocabulary, "CACHED_POSITIONS", 100_000)
        yield


@pytest.fixture(scope="module", autouse=True)
def shapes_are_not_checked() -> Iterator[None]:
    """In tests of stages they are, which hand the mathematics the same tensors; here that is a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "jaxtyping_disable", True)
        yield
