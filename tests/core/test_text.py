"""Foreign text is shown as what it is."""

from truing.core.text import in_one_line, visible


def test_characters_that_would_deceive_the_eye_are_written_out() -> None:
    assert visible("a\u202eb\x00\u200b\u2028\ud800") == "a⟨U+202E⟩b⟨U+0000⟩⟨U+200B⟩⟨U+2028⟩⟨U+D800⟩"
    kept = "a\n\tü 👩\u200d🚀 نمی\u200cخواهم"
    assert visible(kept) == kept
    assert visible("a\r\nb") == "a\nb"


def test_what_is_one_thing_stays_in_one_line() -> None:
    assert in_one_line("a\nb\t") == "a⟨U+000A⟩b\t"
