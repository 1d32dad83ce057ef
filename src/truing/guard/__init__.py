"""Judgements of a policy's own answers, and what they decide of its training. See docs/guard.md."""
