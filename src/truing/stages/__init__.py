"""The stages: each reads from top to bottom like the algorithm in its paper."""
