"""What a library complains of, as one line of ours."""

import pytest

from truing.core.errors import first_line


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no such file."), "no such file"),
        (ValueError("\n first\nsecond"), "first"),
        (ValueError("\x1b[2Jgone\ttab"), r"\x1b[2Jgone\ttab"),
        (ValueError("caf\u00e9 \u202egnp.exe"), "caf\u00e9 \\u202egnp.exe"),
        (ValueError("e" * 5000), "e" * 200),
        (ValueError("\x07" * 5000), r"\x07" * 50),
        (MemoryError(), "MemoryError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_a_reason_is_one_line_that_can_be_printed(error: Exception, reason: str) -> None:
    assert first_line(error) == reason
