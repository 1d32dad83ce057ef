from truing.worlds.language import ASPECTS, DEGREE, VALENCE, openings, stray_words, subject, vocabulary


def test_the_size_of_the_language() -> None:
    assert len(ASPECTS) == 12
    assert {len(set(aspects)) for aspects in ASPECTS.values()} == {5}
    assert (len(VALENCE), len(DEGREE)) == (50, 10)
    assert 160 < len(vocabulary()) < 200
    assert len(set(vocabulary())) == len(vocabulary())


def test_no_word_of_a_judgement_is_stray() -> None:
    assert not stray_words() & {*VALENCE, *DEGREE, *ASPECTS, "is", "was", "feels", "seems", "the", "a", "in", "to"}
    assert {"cousin", "boats", "weather", "dog"} <= stray_words()


def test_an_opening_names_a_product_and_perhaps_an_aspect_and_a_time() -> None:
    assert "review of the kettle :" in openings()
    assert "notes on the radio and its price after a year :" in openings()
    assert len(set(openings())) == len(openings()) == 12 * 6 * 6 * 5


def test_the_subject_of_a_prompt() -> None:
    assert subject("notes on the radio and its price after a year :") == ("radio", "price")
    assert subject("Review of the Kettle :") == ("kettle", None)
    assert subject("what is the price ?") == (None, None)
    assert {subject(opening)[0] for opening in openings()} == set(ASPECTS)
