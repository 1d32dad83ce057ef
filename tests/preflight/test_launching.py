"""What is refused of a launch and what is said of it, before any process is started."""

import pytest

from truing.config.sections import Compute
from truing.core.errors import RecipeError
from truing.preflight.launching import layout_of, remarks_of_launch
from truing.preflight.layouts import Layout


@pytest.mark.parametrize(
    ("shard", "processes", "tensor", "pipeline", "expected"),
    [
        (False, 1, 1, 1, Layout()),
        (True, 1, 1, 1, Layout()),
        (True, 4, 1, 1, Layout(data=4, shard=True)),
        (False, 4, 2, 1, Layout(data=2, tensor=2)),
        (False, 6, 1, 3, Layout(data=2, pipeline=3)),
    ],
)
def test_a_layout_is_what_the_options_and_the_recipe_say(
    shard: bool, processes: int, tensor: int, pipeline: int, expected: Layout
) -> None:
    assert layout_of(Compute(shard=shard), processes, tensor, pipeline) == expected


@pytest.mark.parametrize(
    ("options", "code"), [((3, 2, 1), "odd-layout"), ((3, 1, 2), "odd-stages"), ((4, 2, 2), "cut-twice")]
)
def test_processes_that_make_no_groups_are_refused(options: tuple[int, int, int], code: str) -> None:
    with pytest.raises(RecipeError) as refused:
        layout_of(Compute(), *options)
    assert refused.value.code == f"recipe/{code}"


def test_a_shard_of_one_process_and_a_base_too_small_to_be_shared_are_told() -> None:
    alone, two, shared = Layout(), Layout(data=2), Layout(data=3, shard=True)
    (idle,) = remarks_of_launch(Compute(shard=True), alone, 10**9)
    assert idle.startswith("compute.shard: true changes nothing in one process, which holds all weights: --processes N")
    (small,) = remarks_of_launch(Compute(shard=True), shared, 260_000)
    assert small.startswith("3 processes share the work of a base of 260K parameters: below about 1M, one alone is")
    assert remarks_of_launch(Compute(shard=True), shared, 1_000_000) == remarks_of_launch(Compute(), alone, 10) == []
    assert remarks_of_launch(Compute(), two, None) == []  # of a base that is still to be fetched


def test_layers_that_are_cut_on_a_cpu_are_told_to_be_slow() -> None:
    cut = Layout(tensor=2)
    (slow,) = remarks_of_launch(Compute(), cut, 10**9, on_cpu=True)
    assert slow.startswith("--tp on a CPU waits for the other processes in every layer")
    assert remarks_of_launch(Compute(), cut, 10**9) == remarks_of_launch(Compute(), Layout(data=2), 10**9, True) == []
