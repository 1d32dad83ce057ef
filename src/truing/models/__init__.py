"""Models: loading a base, the four roles on it, sampling, scoring, reward sources and saving."""
