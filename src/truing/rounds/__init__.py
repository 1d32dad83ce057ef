"""Rounds: people judge answers, a reward model and a policy learn from all of it, and the policy answers next."""
