"""What held-out prompts and pairs say of a model as it learns: signs of drift, and whether to stop."""
