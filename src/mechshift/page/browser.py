"""A browser without a window, which draws figures into files: Chromium or Chrome, as installed.

Figures are plotly's, and plotly.js needs a browser to draw them. It is told what to do over a pipe
in the DevTools protocol (https://chromedevtools.github.io/devtools-protocol), which needs no
further package, no port and no network; no name is resolved, so nothing is asked of anyone.
"""

import base64
import fcntl
import json
import os
import re
import select
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mechshift.errors import ConfigError, ReportError

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)

PLACES = ("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",)

PATIENCE = 120.0
"""Seconds that one answer may take."""

ARGUMENTS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def find_browser(given: Path | None = None) -> Path:
    """The browser that is installed.

    Args:
        given: the one that a user names.

    Raises:
        ConfigError: there is none.
    """
    if given is not None:
        if not (given.is_file() and os.access(given, os.X_OK)):
            raise ConfigError(f"{given} is no program; give that of Chromium or Chrome.")
        return given
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    for place in PLACES:
        if Path(place).is_file():
            return Path(place)
    raise ConfigError(
        f"figures are drawn by Chromium or Chrome, and none of {', '.join(NAMES)} is installed; "
        "install one, or name it with --browser."
    )


class Browser:
    """A running browser with one empty page; made by `open_browser`."""

    def __init__(self, into: int, out: int) -> None:
        """File descriptors: what we write to it, and what we read from it."""
        self._into, self._out = into, out
        self._pending = b""
        self._count = 0
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def show(self, path: Path) -> None:
        """Open a page of this machine, and wait until its scripts have run."""
        self._call("Page.navigate", url=path.as_uri())
        self.evaluate(
            "new Promise((done) => document.readyState === 'complete' ? done()"
            " : addEventListener('load', () => done()))"
        )

    def evaluate(self, expression: str) -> Any:
        """The JSON value of an expression in the page, which may be a promise.

        Raises:
            ReportError: it throws.
        """
        answer = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            reason = details.get("exception", {}).get("description", details["text"])
            raise ReportError(f"the browser cannot draw a figure: {reason.splitlines()[0]:.200}")
        return answer["result"].get("value")

    def pdf(self, width: float, height: float) -> bytes:
        """The first sheet of the page as PDF, without the time at which it was made.

        Args:
            width: of the paper [inches].
            height: the same.
        """
        answer = self._call(
            "Page.printToPDF",
            paperWidth=width,
            paperHeight=height,
            marginTop=0,
            marginBottom=0,
            marginLeft=0,
            marginRight=0,
            printBackground=True,
            pageRanges="1",
        )
        content = base64.b64decode(answer["data"])
        return re.sub(rb"\(D:\d{14}", b"(D:19700101000000", content)  # as long, so offsets hold

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._write(json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = json.loads(self._read(deadline))
            if answer.get("id") == self._count:  # all else is news that nobody asked for
                break
        if "error" in answer:
            raise ReportError(f"the browser refuses {method}: {answer['error']['message']:.200}")
        result: dict[str, Any] = answer["result"]
        return result

    def _write(self, content: bytes) -> None:
        try:
            while content:
                content = content[os.write(self._into, content) :]
        except BrokenPipeError:
            raise _ended() from None

    def _read(self, deadline: float) -> bytes:
        """The next message, without the NUL that ends it."""
        while b"\0" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._out], [], [], left)[0]:
                raise ReportError(f"the browser gives no answer within {PATIENCE:.0f} s.")
            part = os.read(self._out, 2**20)
            if not part:
                raise _ended()
            self._pending += part
        message, _, self._pending = self._pending.partition(b"\0")
        return message


def _ended() -> ReportError:
    return ReportError(
        "the browser ended by itself; see whether it starts, or name another with --browser."
    )


@contextmanager
def open_browser(program: Path) -> Iterator[Browser]:
    """Start a browser, which ends with the context.

    Args:
        program: see `find_browser`.

    Raises:
        ReportError: it does not start.
    """
    # As root Chromium does not start with its sandbox; what it shows is ours alone.
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(
        prefix="mechshift-browser-", ignore_cleanup_errors=True
    ) as own:
        words = [str(program), *ARGUMENTS, *as_root, f"--user-data-dir={own}", "about:blank"]
        theirs_in, into = _high_pipe()
        out, theirs_out = _high_pipe()
        silent = os.open(os.devnull, os.O_RDWR)
        try:
            # Chromium reads from descriptor 3 and writes to 4, whatever they were before.
            process = os.posix_spawn(
                program,
                words,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, silent, 0),
                    (os.POSIX_SPAWN_DUP2, silent, 1),
                    (os.POSIX_SPAWN_DUP2, silent, 2),
                    (os.POSIX_SPAWN_DUP2, theirs_in, 3),
                    (os.POSIX_SPAWN_DUP2, theirs_out, 4),
                ],
            )
        except OSError as refusal:
            for descriptor in (into, out):
                os.close(descriptor)
            raise ReportError(f"{program} does not start: {refusal.strerror}.") from None
        finally:
            for descriptor in (theirs_in, theirs_out, silent):
                os.close(descriptor)
        try:
            yield Browser(into, out)
        finally:
            os.close(into)  # without its pipe Chromium ends by itself
            os.close(out)
            os.waitpid(process, 0)


def _high_pipe() -> tuple[int, int]:
    """Reading and writing end, both beyond the descriptors that a child is given."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]
