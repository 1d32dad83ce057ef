"""What a recipe names, looked at before anything is trained: models, rows, and what its stages make of them."""
