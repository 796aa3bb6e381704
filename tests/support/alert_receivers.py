"""Receivers of alerts on this machine: one over HTTP, one over SMTP, each in a thread of its own."""

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HttpReceiver(ThreadingHTTPServer):
    """What was posted, as documents; with `refuses` it answers 500."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.got: list[dict[str, Any]] = []
        self.refuses = False

    @property
    def titles(self) -> list[str]:
        return [document["title"] for document in self.got]


class _Post(BaseHTTPRequestHandler):
    server: HttpReceiver

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.server.refuses:
            self.server.got.append(document)
        self.send_response(500 if self.server.refuses else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class SmtpReceiver(socketserver.ThreadingTCPServer):
    """What was mailed: subject and text."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Mail)
        self.got: list[tuple[str, str]] = []


class _Mail(socketserver.StreamRequestHandler):
    server: SmtpReceiver

    def handle(self) -> None:
        self._say("220 receiver")
        while line := self.rfile.readline():
            match line[:4].upper():
                case b"DATA":
                    self._say("354 go on")
                    self._receive()
                    self._say("250 taken")
                case b"QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 ok")

    def _receive(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line)
        mail = message_from_bytes(b"".join(lines), policy=policy.default)
        body = mail.get_body(("plain", "html"))
        self.server.got.append((mail["Subject"], body.get_content() if body else ""))

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@contextlib.contextmanager
def receivers() -> Iterator[tuple[HttpReceiver, SmtpReceiver]]:
    """Both, while they serve."""
    with HttpReceiver() as http, SmtpReceiver() as smtp:
        for server in (http, smtp):
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield http, smtp
        http.shutdown()
        smtp.shutdown()


def addresses(http: HttpReceiver, smtp: SmtpReceiver) -> str:
    """The setting that names both."""
    mail = f"mailto://127.0.0.1:{smtp.server_address[1]}?from=console@example.com&to=ops@example.com"
    return f"json://127.0.0.1:{http.server_address[1]}/kanari-path {mail}"
