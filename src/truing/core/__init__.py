"""What everything else speaks of: records, batches, metrics, errors, random numbers."""
