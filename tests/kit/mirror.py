"""What the tests of data share: a server of files on this machine, and archives of repositories."""

from __future__ import annotations

import gzip
import io
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTENT = bytes(range(256)) * 40
PACKED = gzip.compress(CONTENT, mtime=0)


class Mirror(ThreadingHTTPServer):
    """A server of `files`, else of one file, faultless or not, by the name of the path."""

    asked: list[str]
    files: dict[str, bytes]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked, self.files = [], {}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = gzip.compress(b"other", mtime=0) if self.path == "/wrong" else PACKED
        body = self.server.files.get(self.path, body)
        self.send_response(404 if self.path.startswith("/missing") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if self.path.startswith("/cut") else body)

    do_HEAD = do_GET  # torchvision asks so for redirections

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def files_in(folder: Path) -> list[str]:
    """The names of all files under a folder."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def write_half(error: BaseException) -> object:
    """In the place of `Path.write_bytes`: writes half of the content, then fails."""

    def write_bytes(path: Path, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise error

    return write_bytes


def zipped(files: dict[str, bytes]) -> bytes:
    """An archive of a repository, wrapped in a folder as the host does."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("name-commit/", b"")
        for path, content in files.items():
            archive.writestr(f"name-commit/{path}", content)
    return out.getvalue()
