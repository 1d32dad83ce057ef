"""Names that mean one thing in each kind of stage, and how micro-batches' values of them are combined."""

from truing.config.stages import STAGES
from truing.core.metrics import GLOSSARY, reduction


def test_a_name_is_one_metric_in_a_stage() -> None:
    for spec in STAGES.values():
        names = [metric.name for metric in spec.metrics]
        assert len(names) == len(set(names))


def test_what_the_report_calls_by_one_name_is_defined_once() -> None:
    assert len({metric.title for metric in GLOSSARY}) == len(GLOSSARY)
    assert all(metric.definition.endswith(".") for metric in GLOSSARY)


def test_a_batch_has_the_mean_of_its_micro_batches_and_the_largest_deviation() -> None:
    assert reduction("ratio_max_deviation") == "max"
    assert {reduction(name) for name in ("loss", "clip_fraction", "of_no_table")} == {"mean"}


def test_a_name_is_combined_alike_in_all_stages() -> None:
    assert all(metric.reduce == reduction(metric.name) for spec in STAGES.values() for metric in spec.metrics)
