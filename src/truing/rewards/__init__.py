"""Where the score of a response comes from."""
