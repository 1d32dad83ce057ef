import io
import itertools

import pytest
from rich.console import Console

from truing.runs.progress import LineProgress, LiveProgress, SilentProgress, duration, in_words, open_progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def plain(clock: Clock) -> tuple[LineProgress, io.StringIO]:
    out = io.StringIO()
    return LineProgress(Console(file=out, width=40), clock), out


def test_lines_at_the_start_each_tenth_and_the_end() -> None:
    clock = Clock()
    progress, out = plain(clock)
    with progress.stage("ppo", 40) as stage:
        stage.advance(0, {"score": 0.0})
        for step in range(1, 41):
            clock.now += 2
            stage.advance(step, {"score": 0.5, "kl": 3.14159})
    lines = out.getvalue().splitlines()
    assert lines[0] == "ppo: 40 steps"
    assert lines[1] == "ppo 4/40, 1:12 min left, score 0.5, kl 3.14"  # 8 s for 4 steps, so 72 s for 36
    assert [line.split(",")[0] for line in lines[1:-1]] == [f"ppo {step}/40" for step in range(4, 40, 4)]
    assert lines[-1] == "ppo: 40 steps in 1:20 min, score 0.5, kl 3.14"


def test_a_figure_that_is_not_measured_each_step_stands_on_one_line() -> None:
    clock = Clock()
    progress, out = plain(clock)
    with progress.stage("sft", 40) as stage:
        for step in range(1, 41):
            stage.advance(step, {"loss": float(step)} | ({"heldout_loss": -float(step)} if step % 10 == 0 else {}))
    told = [line.partition("left, ")[2] for line in out.getvalue().splitlines()[1:-1]]
    assert told[:5] == ["loss 4", "loss 8", "loss 12, heldout_loss -10", "loss 16", "loss 20, heldout_loss -20"]
    assert out.getvalue().endswith(", loss 40, heldout_loss -40\n")


def test_steps_done_before_have_no_part_in_the_time_left() -> None:
    clock = Clock()
    progress, out = plain(clock)
    with progress.stage("ppo", 40, done=20) as stage:
        for step in range(21, 41):
            clock.now += 2
            stage.advance(step, {})
    lines = out.getvalue().splitlines()
    assert lines[1] == "ppo 24/40, 32 s left"  # 8 s for 4 steps, so 32 s for 16
    assert lines[-1] == "ppo: 20 steps in 40 s"


def test_a_stage_with_no_step_left_says_so() -> None:
    progress, out = plain(Clock())
    with progress.stage("dpo", 12, done=12):
        pass
    assert out.getvalue().splitlines() == ["dpo: 12 steps", "dpo: all steps were done before"]


def test_slow_steps_speak_each_time_and_a_long_stage_falls_quieter() -> None:
    clock = Clock()
    progress, out = plain(clock)
    with progress.stage("ppo", 100_000) as stage:
        times = []
        for step in range(1, 4000):
            clock.now += 10
            stage.advance(step, {})
            if len(out.getvalue().splitlines()) > len(times) + 1:
                times.append(clock.now - 1000)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps[:19] == [10] * 19
    assert all(20 * gap <= time + 20 * 10 for gap, time in zip(gaps, times[1:], strict=True))
    assert gaps[-1] > 1500
    assert len(times) < 150


def test_a_stage_that_fails_has_no_closing_line() -> None:
    progress, out = plain(Clock())
    with pytest.raises(ZeroDivisionError), progress.stage("sft", 10) as stage:
        stage.advance(1, {"loss": 1 / 0})
    assert out.getvalue().splitlines() == ["sft: 10 steps"]


def test_notes_are_said_as_they_are() -> None:
    progress, out = plain(Clock())
    progress.note("[bold]3 of 7 rows[/bold] were cut, and this sentence is longer than the console is wide")
    assert out.getvalue() == "[bold]3 of 7 rows[/bold] were cut, and this sentence is longer than the console is wide\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_note_is_said_once_however_many_stages_give_it(terminal: bool) -> None:
    out = io.StringIO()
    progress = open_progress(Console(file=out, force_terminal=terminal, legacy_windows=False))
    for sentence in ("prompts: 3 of 3 rows kept", "reward: 2 of 3 rows kept", "prompts: 3 of 3 rows kept"):
        progress.note(sentence)
    assert out.getvalue() == "prompts: 3 of 3 rows kept\nreward: 2 of 3 rows kept\n"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_terminal_gets_a_bar_of_one_line(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    progress = open_progress(console)
    assert isinstance(progress, LiveProgress)
    with progress.stage("ppo", 45) as stage:
        stage.advance(12, {"score": 0.8123, "kl": 3.1, "loss": 0.25})
        progress.note("[note] in between")
    text = out.getvalue()
    assert "[note] in between" in text
    last = text.rsplit("\r", 1)[-1]
    assert "ppo" in last
    assert last.count("\n") == 1
    if width >= 80:
        assert "12/45" in last
        assert "score 0.812, kl 3.1, loss 0.25" in last


def test_a_bar_begins_at_the_steps_done_before() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system=None, legacy_windows=False)
    with open_progress(console).stage("ppo", 45, done=20):
        pass
    assert "20/45" in out.getvalue()


def test_what_is_no_terminal_gets_lines() -> None:
    assert isinstance(open_progress(Console(file=io.StringIO())), LineProgress)


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    progress = SilentProgress()
    with progress.stage("sft", 3) as stage:
        stage.advance(1, {"loss": 1.0})
    progress.note("nobody hears")
    assert capsys.readouterr() == ("", "")


def test_words() -> None:
    assert in_words({"score": -0.81234, "kl": 12.0, "tokens": 6000.0}) == "score -0.812, kl 12, tokens 6e+03"
    assert [duration(seconds) for seconds in (0.4, 59.4, 59.6, 185, 3723)] == [
        "0 s",
        "59 s",
        "1:00 min",
        "3:05 min",
        "1:02:03 h",
    ]
