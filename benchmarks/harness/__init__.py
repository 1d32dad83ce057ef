"""What the benchmarks share: peers' environments, runs side by side, the machine's ceilings, counts, pages."""
