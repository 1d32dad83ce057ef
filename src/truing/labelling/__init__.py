"""People judge answers on a page: what is shown, to whom, what they said, and how that becomes rows to learn from.

`sources` makes items of a run or a file, `store` gives them out and keeps every vote, `server` shows them. Rows that a
recipe reads are made by `export_rows` of what people said here, and by `imports` of what they said in other programs.
`waiting` has a run ask people, and `verdicts` say what they said.
"""
