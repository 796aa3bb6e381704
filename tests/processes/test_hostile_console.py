import random
from urllib.parse import urlsplit

import httpx
from hostile import Generator, bombard
from processes.children import Nursery

PATHS = (
    *(b"/", b"/orders", b"/timeline?order=%ff%00", b"/submit", b"/activity", b"/orders?page=-1&from=x&min=%F0%9F"),
    *(b"/healthz", b"/metrics", b"/webhooks", b"/webhooks/", b"/%2e%2e/%2e%2e/etc/passwd", b"/..%2f..%2fdashboard.py"),
    *(b"/_stcore/health", b"/_stcore/stream", b"/_stcore/upload_file/x/y", b"/media/x", b"/static/../../dashboard.py"),
    *(
        b"/component/x/y",
        b"/app/static/x",
        b"/pages/main.py",
        b"//evil.example/",
        b"/" + b"a/" * 3000,
        b"/\xff\xfe",
        b"*",
    ),
)


def test_hostile_bytes_get_no_5xx_and_no_stack_trace_from_a_console(children: Nursery) -> None:
    console = children.uvicorn({"ROLES": "pages,webhooks"}).ready()
    rng, port = random.Random(1), urlsplit(console.url).port or 0
    figures = bombard(port, rng, Generator(rng), 150, PATHS)
    assert figures.problems == []
    assert httpx.get(f"{console.url}/healthz", trust_env=False).status_code == 200
    assert "Traceback" not in console.said
