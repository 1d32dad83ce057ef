"""truing: align a language model with human preferences, and show that it can be trusted."""

__version__ = "0.2.0"
