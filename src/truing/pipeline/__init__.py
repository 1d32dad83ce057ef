"""From a recipe to a run: open, plan, execute."""
