"""The names of axes, and of entries that axes share; each means one thing everywhere."""

EXAMPLE = "example"
"""One prompt with its corruption, in pool order."""

STEP = "step"
"""One denoising step: the target tokens that are committed together."""

EDGE = "edge"
"""One edge of the computation graph, in `Graph` order."""

SOURCE = "source"
"""A node that writes to the residual stream, in `Graph` order."""

DESTINATION = "destination"
"""A node input that reads the residual stream, in `Graph` order."""

LAYER = "layer"
"""A transformer block, 0 nearest the embedding."""

SIZE = "size"
"""A circuit size in a sweep."""

DIRECTIONS = ("right-to-left", "same-position", "left-to-right")
"""Entries of an axis `direction`: where a source position lies, seen from the reading query."""

COMMITTED, SCORED, LATER, REST = "committed", "scored", "later", "rest"

GENERAL_SPANS = (COMMITTED, SCORED, LATER, REST)
"""Last entries of every axis `span`: what each canvas has, whatever spans its task names."""
