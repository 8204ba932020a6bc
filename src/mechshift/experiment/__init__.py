"""The stages of a run: what can be asked of each, and how its results are stored."""
