"""What the guard's page is made of: the second world's gold, a judge who errs, replays, alarms and their lateness."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny
from guard.judging import noisy_judge
from guard.packing import gold_scores, packing_list
from guard.raising import by_seed
from guard.raising import worth as raised_worth
from guard.replay import replay
from guard.runs import HONEST, PLAIN, WATCHED, WATCHED_HONEST, WORLDS, Recorded, recipe_of
from guard.signals import alarm, hacked, peak_step, repetition, threshold, worth

from truing.worlds.writing import Chance

PROMPT = "help me pack for the beach with my boss in june ?"
MEAN, DEVIATION = 0.66, 1.63


@pytest.mark.parametrize(
    ("answer", "raw"),
    [
        ("take soap , towel and rope .", 1 + 0.5 - 0.5),
        ("bring soap , soap and anvil .", 2 - 1 - 1),
        ("soap and water", 2 - 1),  # no full stop
        ("take soap , what and water .", 2 - 1),
        (" , ".join(["pack passport", "water", "money", "soap", "medicine", "socks", "charger", "bread"]) + " .", 8),
        ("pack passport , water , money , soap , medicine , socks , charger , bread and needle .", 9 - 0.7),
    ],
)
def test_gold_of_a_list_is_what_its_formula_says(answer: str, raw: float) -> None:
    assert gold_scores([PROMPT], [answer]) == pytest.approx([(raw - MEAN) / DEVIATION])


def test_a_list_names_nothing_twice() -> None:
    for number in range(50):
        things = packing_list(PROMPT, Chance(3, "test", number)).split()[1:]
        named = [word for word in things if word not in (",", "and", ".")]
        assert len(set(named)) == len(named)


def by_length(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(len(response)) for response in responses]


def test_a_noisy_judge_errs_on_a_quarter_and_alike_on_both_sides() -> None:
    pairs = [("a" * number, "a" * (number + 1)) for number in range(1, 801)]
    said = noisy_judge(by_length, 1)([""] * 800, pairs)
    turned = noisy_judge(by_length, 1)([""] * 800, [(second, first) for first, second in pairs])
    assert [1 - one for one in said] == turned
    assert sum(said) == pytest.approx(200, abs=40)  # 1 is an error; three deviations
    assert said != noisy_judge(by_length, 2)([""] * 800, pairs)
    assert noisy_judge(by_length, 1)([""], [("ab", "cd")]) == [0.5]


@pytest.mark.parametrize(
    ("lengths", "kept", "turned"), [([1, 2, 3, 4, 5], 12, None), ([1, 9, 8, 2, 1], 3, 6), ([5, 4, 3, 2, 1], 0, 3)]
)
def test_a_replay_keeps_what_judges_prefer(lengths: list[int], kept: int, turned: int | None) -> None:
    samples = {
        3 * look: [{"prompt": f"p{i}", "response": f"{i} ".ljust(4) + "x" * length, "kl": 1.0} for i in range(60)]
        for look, length in enumerate(lengths)
    }

    def right(prompts: list[str], pairs: list[list[str]]) -> list[float]:
        return [float(len(first) > len(second)) for first, second in pairs]

    found = replay(samples, right, 120, seed=1)
    assert (found.kept, found.turned) == (kept, turned)
    assert found.labels == 30 * (4 if turned is None else turned // 3)


def test_alarms_are_late_from_the_peak_on_and_false_where_the_reward_is_honest() -> None:
    gold = {0: 0.0, 3: 0.5, 6: 0.5, 9: 0.2}
    assert hacked(gold)
    assert not hacked({0: 0.0, 3: 0.5, 6: 0.4})
    assert peak_step(gold) == 3
    assert alarm([0, 3, 6], [0.0, 2.0, 3.0], 2.0) == 6
    assert alarm([0, 3], [0.0, 2.0], 2.0) is None
    found = worth([(6, 3), (None, 3), (9, 0)], [None, 3])
    assert (found.hits, found.hacked, found.late, found.false, found.honest) == (2, 3, 6.0, 1, 2)


def test_a_threshold_lets_one_of_eight_honest_runs_alarm() -> None:
    honest = [[0.0, float(highest)] for highest in range(1, 9)]
    assert threshold(honest) == 7.0
    assert [alarm([0, 3], values, 7.0) for values in honest] == [None] * 7 + [3]


def test_repetition_is_the_share_of_pairs_that_stood_before() -> None:
    assert repetition("a b a b c") == 1 / 4
    assert repetition("a") == 0.0


def _recorded(place: Path, looks: Sequence[tuple[float, float]]) -> Recorded:
    """A run of these KLs and golds, at each third update."""
    rows = [
        {"step": 3 * look, "heldout_kl": kl, "heldout_length": 10.0, "judge_gold": gold}
        for look, (kl, gold) in enumerate(looks)
    ]
    (place / "ppo").mkdir(parents=True)
    tiny.write_rows(place / "ppo" / "metrics.jsonl", rows)
    (place / "ppo" / "result.json").write_text("{}")
    return Recorded(place)


def test_what_raising_at_an_alarm_was_worth_is_told_by_seed_and_in_brief(tmp_path: Path) -> None:
    ends = {PLAIN[0]: -1.0, PLAIN[2]: 0.8, WATCHED: 0.75, HONEST: 1.0, WATCHED_HONEST: 0.9}
    runs = {}
    for world in WORLDS:
        for case, end in ends.items():
            looks = [(0.0, 0.0), (21.0, 0.3), (30.0 if case == PLAIN[0] else 8.0, end)]
            runs[world, 17, case] = _recorded(tmp_path / world.name / case.name, looks)
    for world in WORLDS:
        (cells,) = [line.split(" | ") for line in by_seed(runs, world).split("\n") if line.startswith("| 17")]
        assert cells[1:5] == ["-1.00 (0.30)", "0.80 (0.80)", "0.75 (0.75)", "1.00 (1.00)"]
        assert cells[-3:] == ["3", "0.30", "21, 8 |"]
    told = dict(line.strip("| ").split(" | ")[:2] for line in raised_worth(runs).split("\n")[2:])
    assert told == {
        "β = 0, nobody looks: gold at the end, mean, lowest": "-1.00, -1.00",
        "β = 0, raised at an alarm": "0.75, 0.75",
        "β = 0.1 from the beginning": "0.80, 0.80",
        "alarms from β = 0": "1 of 1",
        "of these, better at the end than without": "1 of 1",
        "at least 0.9 of what β = 0.1 reaches": "1 of 1, median 0.94",
        "false alarms, true reward": "1 of 1",
        "gold that each of them cost": "0.10",
    }


def test_a_watched_run_is_the_unguarded_one_but_for_its_guard(tmp_path: Path) -> None:
    plain, watched = (recipe_of(tmp_path, WORLDS[0], 18, case) for case in (PLAIN[0], WATCHED))
    assert (watched.guard.mode, watched.guard.judge.kind) == ("rollback", "none")
    assert watched.model_copy(update={"guard": plain.guard}) == plain
