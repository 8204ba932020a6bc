"""Words of a command line, checked before a parser reads them."""

from collections.abc import Sequence

from mechshift.errors import ConfigError

MAX_NAME = 100
"""Letters of an option's name; a parser compares an unknown one with all that it knows."""

OF_PAIRS = ("run", "plan", "doctor", "pool", "trajectory")
"""Commands that take a known pair, or models of one's own."""

OF_OWN_MODELS = ("--attention", "--shift", "--no-shift")
"""Options of models of one's own with a default: where that is said, settings do not show it."""


def check_words(words: Sequence[str]) -> None:
    """Refuse what no command could mean.

    Args:
        words: those that the shell gave.

    Raises:
        ConfigError: an option's name is longer than any; or an option speaks of a model of one's
            own, and none is given, so that it would be ignored.
    """
    names = [word.partition("=")[0] for word in words if word.startswith("-")]
    for name in names:
        if len(name) > MAX_NAME:
            raise ConfigError(f"no option has a name of {len(name):,} letters: {name[:40]}...")
    own = [name for name in names if name in OF_OWN_MODELS]
    if own and words[0] in OF_PAIRS and "--arm" not in names:
        raise ConfigError(
            f"{own[0]} is said of a model of your own, and a known pair has its own; give --arm and"
            " --mdm too, or leave it out."
        )
