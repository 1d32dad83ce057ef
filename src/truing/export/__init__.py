"""A run's result in the forms that servers load."""
