"""Exports of Label Studio and Argilla are read: `rows` makes rows to learn from of what `judged` finds in a record."""
