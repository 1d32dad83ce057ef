"""Evidence that a trained model can be trusted: the reward model's report card, and signs of drift."""
