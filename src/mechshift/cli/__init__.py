"""The `mechshift` command: one sub-command a stage."""
