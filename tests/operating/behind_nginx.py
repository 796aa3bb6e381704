"""The nginx sample in front of a process of a test: its own ports, certificate and log, and nothing else changed."""

import datetime as dt
import ipaddress
import re
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from processes.children import ROOT, Child, Nursery, free_port

SAMPLE = ROOT / "docs/operating/proxy/nginx.conf"
NAME = "rewards.example.com"


@dataclass(frozen=True)
class Proxy:
    """A running nginx: where it listens with TLS, and the file of its certificate."""

    child: Child
    url: str
    certificate: Path

    def trust(self) -> ssl.SSLContext:
        """What a client needs that believes this certificate alone."""
        return ssl.create_default_context(cafile=str(self.certificate))


def make_certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1 and its key, as fullchain.pem and privkey.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    file = folder / "fullchain.pem"
    file.write_bytes(certificate.public_bytes(pem))
    return file


def configuration(folder: Path, *, console: int, tls: int, plain: int) -> str:
    """The sample as one whole configuration of nginx, for these ports of 127.0.0.1."""
    text = SAMPLE.read_text()
    for before, after in (
        ("server 127.0.0.1:8501;", f"server 127.0.0.1:{console};"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{tls} ssl;"),
        # The name of a test has a port, which a name at port 443 has not.
        ("proxy_set_header Host              $host;", "proxy_set_header Host $http_host;"),
        ("/etc/ssl/tracking/", f"{folder}/"),
    ):
        assert before in text, f"the sample has no {before!r}"
        text = text.replace(before, after)
    text = re.sub(r"server_name \S+;", f"server_name {NAME} 127.0.0.1;", text)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"user root;daemon off;worker_processes 1;pid {folder}/nginx.pid;error_log {folder}/error.log;"
        f"events {{}}\nhttp {{ access_log {folder}/access.log;{temporary}\n{text}\n}}\n"
    )


def start(children: Nursery, *, console: int, tls: int | None = None) -> Proxy:
    """Start nginx in front of what listens at this port; the test is skipped where there is no nginx."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("no nginx here")
    folder = children.folder / "nginx"
    folder.mkdir()
    certificate, tls = make_certificate(folder), tls or free_port()
    (folder / "nginx.conf").write_text(configuration(folder, console=console, tls=tls, plain=free_port()))
    command = [program, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]
    url = f"https://127.0.0.1:{tls}"
    return Proxy(children.start(command, url=url), url, certificate)
