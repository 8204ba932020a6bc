"""Texts of models and files in a terminal, which must not steer it."""


def printable(text: str) -> str:
    r"""The text with escapes such as \x1b in place of what would steer a terminal.

    Line ends stay; so does all else that has a shape of its own in Unicode.
    """
    return "".join(
        letter
        if letter.isprintable() or letter == "\n"
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )
