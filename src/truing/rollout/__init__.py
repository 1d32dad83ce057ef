"""Prompts answered by a policy: the engine that samples, and what comes back."""
