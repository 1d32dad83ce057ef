"""The run directory: what a run leaves on disk, complete or absent, and what it shows while it goes."""
