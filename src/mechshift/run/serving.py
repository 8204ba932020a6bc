"""A server for the page of several runs and their reports: this machine alone, reading alone.

For readers who want to look at runs while others are still made. It is the standard library's
`http.server`; the page is made anew at each visit. What it answers:

1. Only from 127.0.0.1, and only to requests whose Host says so: else a page from elsewhere whose
   name was made to mean 127.0.0.1 could read runs (DNS rebinding).
2. Only GET and HEAD, and nothing is ever written.
3. Only `/` and `/runs/NAME/FILE`, where NAME is a run that is listed and FILE one that the
   manifest of its finished report or trajectory names: no path is taken from a request, and no link
   followed.
"""

import os
import stat
import sys
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from mechshift.artifacts import is_written, read_manifest
from mechshift.errors import ConfigError, MechshiftError
from mechshift.run.folders import REPORT, TRAJECTORY
from mechshift.run.found_runs import find_runs, open_runs
from mechshift.topics.run_list import ListedRun
from mechshift.topics.runs_page import runs_page

ADDRESS = "127.0.0.1"

PREFIX = "/runs/"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
}

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src"
    " 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer: pages run their own scripts, ask for nothing else, and lie in no other page."""


def runs_server(folders: Sequence[Path], port: int) -> ThreadingHTTPServer:
    """A server for the runs in these folders, which listens once `serve_forever` is called.

    Args:
        folders: run folders, or folders that hold some.
        port: 0: one that is free.

    Raises:
        ArtifactError: there is no run.
        ConfigError: the port is taken, or none.
    """
    if not 0 <= port < 2**16:
        raise ConfigError(f"a port is a number from 0 to 65535, not {port}.")
    open_runs(*folders)
    try:
        return _Server((ADDRESS, port), partial(_Handler, tuple(folders)))
    except OSError as refusal:
        raise ConfigError(
            f"port {port} of {ADDRESS} cannot be had ({refusal.strerror}); give another one with"
            " --port, or 0 for any."
        ) from None


def served_link(run: ListedRun) -> str:
    """Where the server has a run's page."""
    assert run.page is not None
    return f"{PREFIX}{quote(run.name)}/{run.page.name}"


class _Server(ThreadingHTTPServer):
    """One thread a request."""

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader who goes away while a page is sent is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Refused(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        super().__init__()
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server_version = "mechshift"
    sys_version = ""
    timeout = 30
    """Seconds that a client may take for its request."""

    def __init__(self, folders: tuple[Path, ...], *given: object) -> None:
        self.folders = folders
        super().__init__(*given)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not printed."""

    def _answer(self, *, with_body: bool) -> None:
        try:
            self._check_host()
            path = urlsplit(self.path).path
            if path == "/":
                self._send_text(runs_page(open_runs(*self.folders), served_link), with_body)
            else:
                self._send_file(path, with_body)
        except _Refused as refused:
            self._send_text(refused.status.phrase, with_body, refused.status)
        except MechshiftError as error:
            self._send_text(str(error), with_body, HTTPStatus.NOT_FOUND)

    def _check_host(self) -> None:
        port = self.connection.getsockname()[1]
        if self.headers.get_all("Host") not in ([f"{ADDRESS}:{port}"], [f"localhost:{port}"]):
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST)

    def _send_text(self, text: str, with_body: bool, status: HTTPStatus = HTTPStatus.OK) -> None:
        content = text.encode()
        kind = TYPES[".html"] if status == HTTPStatus.OK else "text/plain; charset=utf-8"
        self._send_head(status, kind, len(content))
        if with_body:
            self.wfile.write(content)

    def _send_file(self, path: str, with_body: bool) -> None:
        folder, name = self._named(unquote(path, errors="replace"))
        kind = TYPES.get(Path(name).suffix, "application/octet-stream")
        try:
            with _open_inside(folder, name) as file:
                self._send_head(HTTPStatus.OK, kind, os.fstat(file.fileno()).st_size)
                if with_body:
                    copyfileobj(file, self.wfile)
        except FileNotFoundError:
            raise _Refused(HTTPStatus.NOT_FOUND) from None

    def _named(self, path: str) -> tuple[Path, str]:
        """Folder and file of a listed run's page; both are names that we know, or refused."""
        run, _, name = path.removeprefix(PREFIX).rpartition("/")
        found = find_runs(self.folders).get(run)
        if not path.startswith(PREFIX) or found is None:
            raise _Refused(HTTPStatus.NOT_FOUND)
        for folder in (found / REPORT, found / TRAJECTORY):
            if is_written(folder) and name in read_manifest(folder).files:
                return folder, name
        raise _Refused(HTTPStatus.NOT_FOUND)

    def _send_head(self, status: HTTPStatus, kind: str, length: int) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()


def _open_inside(folder: Path, name: str) -> BinaryIO:
    """A regular file of a folder; what is a link is not there."""
    if folder.is_symlink() or (folder / name).is_symlink():
        raise FileNotFoundError
    descriptor = os.open(folder / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError
    return os.fdopen(descriptor, "rb")
