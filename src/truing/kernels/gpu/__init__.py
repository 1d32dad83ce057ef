"""Layers and steps that models take on a GPU, and on any device that is waited for."""
