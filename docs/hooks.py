"""What the site's build changes on its pages, for mkdocs."""

import re
from typing import Any

MATHJAX = re.compile(r"<script[^>]*\bsrc=[^>]*mathjax[^>]*></script>", re.IGNORECASE)


def on_page_content(html: str, **_: Any) -> str:
    """Leave out the script that plotly's figures ask a server for; they have no formulas."""
    return MATHJAX.sub("", html)
