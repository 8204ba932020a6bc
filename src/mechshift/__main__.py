"""`python -m mechshift` is the `mechshift` command; `accelerate launch -m mechshift` needs it."""

from mechshift.cli import entry_point

if __name__ == "__main__":
    entry_point()
