"""Topics: what is asked of a pair, one file a topic, and the pages made of them.

`topic.py` says what a topic declares, `registry.py` lists them.
"""
