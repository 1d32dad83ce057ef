"""Layers and steps that float32 models take on a CPU, by oneDNN."""
