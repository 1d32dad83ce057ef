"""What a round learns from, as people have judged it."""

from pathlib import Path

from labelling.collecting import pairs
from rounds.collecting import judged_by, settings, shorter

from truing.core.label_quality import quality_file
from truing.rounds.asking import ScoredItem, write_asked
from truing.rounds.directory import RoundsDirectory
from truing.rounds.labels import is_learnt, store_of, write_learnt


def test_what_a_kill_has_left_is_written_anew_until_its_run_has_begun(tmp_path: Path) -> None:
    directory, asked = RoundsDirectory(tmp_path), settings(labels=4, simulated=False)
    for folder in ("asked", "judged", "learnt"):
        (tmp_path / folder).mkdir()
    write_asked(directory.asked(1), [ScoredItem(item, None) for item in pairs(4)])
    store = store_of(directory, asked)
    judged_by(shorter)(store, "")
    assert not is_learnt(directory, 1, asked)
    write_learnt(directory, store, 1, asked)
    assert is_learnt(directory, 1, asked)
    quality_file(directory.learnt(1)).unlink()  # the last that is written
    assert not is_learnt(directory, 1, asked)
    assert is_learnt(directory, 1, settings(labels=4)), "of simulated people it is not written"
    directory.run(1).record.parent.mkdir()
    directory.run(1).record.touch()
    assert is_learnt(directory, 1, asked), "and what a run has begun with stays as it is"
