"""A stage that dies in its third update, and is begun again in the same place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from truing.stages.update import Update
from truing.training.job import Job


class Killed(BaseException):
    """Nothing catches a kill."""


def ends_as_if_it_had_not_been_killed(job_in: Callable[[Path], Job], train: Callable[[Job], Any], place: Path) -> None:
    """Of four updates, each with a checkpoint: weights and samples are those of an undisturbed stage, to the byte."""
    right = Update.run

    def dies(self: Update, number: int, beta: float) -> dict[str, Any]:
        if number == 3:
            raise Killed
        return right(self, number, beta)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Update, "run", dies)
        with pytest.raises(Killed):
            train(job_in(place / "killed"))
    again, undisturbed = job_in(place / "killed"), job_in(place / "undisturbed")
    train(again)
    train(undisturbed)
    weights = Path("model.safetensors")
    assert (again.directory.model / weights).read_bytes() == (undisturbed.directory.model / weights).read_bytes()
    assert again.directory.samples.read_bytes() == undisturbed.directory.samples.read_bytes()
