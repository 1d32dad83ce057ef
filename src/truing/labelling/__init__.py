"""People judge answers on a page: what is shown, to whom, what they said, and how that becomes rows to learn from.

`sources` makes items of a run or a file, `store` gives them out and keeps every vote, `server` shows them, `out` writes
what people said as rows that a recipe reads. `waiting` has a run ask people, and `verdicts` say what they said.
"""
