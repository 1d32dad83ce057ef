"""Whether a reward can be trusted: the report card of a reward model, question by question. See docs/trust.md."""
