"""The axis names used in shapes, tables and files; each means one thing everywhere."""

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
