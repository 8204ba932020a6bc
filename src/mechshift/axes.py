"""Entries of axes that several packages share; each means one thing everywhere."""

DIRECTIONS = ("right-to-left", "same-position", "left-to-right")
"""Entries of an axis `direction`: where a source position lies, seen from the reading query."""

COMMITTED, SCORED, LATER, REST = "committed", "scored", "later", "rest"

GENERAL_SPANS = (COMMITTED, SCORED, LATER, REST)
"""Last entries of every axis `span`: what each canvas has, whatever spans its task names."""
