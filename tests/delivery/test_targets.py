import asyncio
import errno
import ipaddress
import re
import socket
from pathlib import Path
from typing import Any

import httpcore
import pytest
from fakes import NOW
from hypothesis import given
from hypothesis import strategies as st
from outgoing import ANN, KEYS, THIS_MACHINE, Outgoing, Receiver

from tracking.delivery import importing, subscribing
from tracking.delivery.posting import Poster
from tracking.delivery.retries import LONGEST_RETRY_AFTER, parse_retry_after
from tracking.delivery.signing import SecretCipher, SecretRefused, new_secret, read_secret
from tracking.delivery.subscribing import NewHook
from tracking.delivery.targets import Target, TargetRefused, check_ip, read_url
from tracking.errors import ClaimsUnavailable, InvalidSubscription, NotAllowed, UnknownSubscription
from tracking.settings.addresses import read_networks
from tracking.storage.integration.tables import SUBSCRIPTIONS

HIDDEN = "top-secret"


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.com/", "ftp://crm.example.com/", "//crm.example.com/", "https:///x", "https://",
        "https://x y/", "https://\uff11\uff12\uff17.0.0.1/",
        f"https://user:{HIDDEN}@crm.example.com/", "https://@crm.example.com/", "https://crm.example.com/#x",
        "https://crm.example.com:0/", "https://crm.example.com:99999/", "https://crm.example.com\\@127.0.0.1/",
        "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/",
        "https://10.0.0.8/", "https://192.168.1.1/", "https://169.254.169.254/", "https://100.64.0.1/", "https://0.0.0.0/",
        "https://224.0.0.1/", "https://240.0.0.1/", "https://255.255.255.255/", "https://[::1]/", "https://[::]/",
        "https://[::ffff:127.0.0.1]/", "https://[::ffff:a00:1]/", "https://[::127.0.0.1]/", "https://[fe80::1]/",
        "https://[fe80::1%25eth0]/", "https://[fc00::1]/", "https://[ff02::1]/", "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/", "https://[2002:a00:1::1]/",
        "https://[2001:0:7f00:1::1]/", "https://127.0.0.1./", "https://exa_mple..com/", "https://crm.example.com/ä",
        "https://crm.example.com/" + "a" * 1000, "https://10.0.0.1。/",
    ],
)  # fmt: skip
def test_addresses_that_are_not_sent_to(url: str) -> None:
    with pytest.raises(TargetRefused) as refusal:
        read_url(url)
    assert HIDDEN not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "host", "one_form"),
    [
        ("https://CRM.example.com", "crm.example.com", "https://crm.example.com/"),
        ("https://crm.example.com.:443/a?b=c", "crm.example.com", "https://crm.example.com/a?b=c"),
        ("https://bücher.example/x", "xn--bcher-kva.example", "https://xn--bcher-kva.example/x"),
        ("https://8.8.8.8:8443/", "8.8.8.8", "https://8.8.8.8:8443/"),
        ("https://[2606:4700:4700::1111]/", "2606:4700:4700::1111", "https://[2606:4700:4700::1111]/"),
    ],
)
def test_addresses_in_their_one_form(url: str, host: str, one_form: str) -> None:
    target = read_url(url)
    assert (target.host, target.url) == (host, one_form)
    assert read_url(target.url) == target


@given(st.ip_addresses())
def test_no_address_that_is_not_public_is_connected_to(address: Any) -> None:
    try:
        check_ip(address, "https", ())
    except TargetRefused:
        return
    assert address.is_global
    assert not any((address.is_multicast, address.is_private, address.is_loopback, address.is_link_local))


def test_a_setting_allows_networks_and_http_on_this_machine_alone() -> None:
    allowed = read_networks("private")
    for url in ("https://10.1.2.3/", "https://[fc00::1]/", "http://127.0.0.1:80/", "https://[::ffff:10.0.0.1]/"):
        read_url(url, allowed)
    for url in ("http://10.1.2.3/", "https://169.254.169.254/", "https://0.0.0.0/"):
        with pytest.raises(TargetRefused):
            read_url(url, allowed)
    assert read_networks("10.0.0.0/8, 127.0.0.1") == (
        ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("127.0.0.1/32"),
    )  # fmt: skip
    for wrong in ("10.0.0.1/8", "everything"):
        with pytest.raises(ValueError, match="networks"):
            read_networks(wrong)


def test_a_name_is_resolved_for_each_connection_and_what_it_leads_to_then_is_checked(receiver: Receiver) -> None:
    answers = [["93.184.216.34"], ["127.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%lo"], []]
    asked = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return answers[len(asked)]

    target = Target("https", "rebinds.example.com", receiver.port, "/")
    poster = Poster((), resolve=rebinding)
    errors = [asyncio.run(poster.post(target, "{}", {})).error or "" for _ in range(4)]
    assert ["is not public" in error for error in errors] == [True, True, True, False]
    assert errors[3].startswith("no connection")
    assert asked == [("rebinds.example.com", receiver.port)] * 4
    assert receiver.bodies == [], "nobody was connected to"


def test_what_is_connected_to_is_the_address_that_was_checked(receiver: Receiver) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["10.255.255.1", "127.0.0.1"]

    target = Target("http", "crm.example.com", receiver.port, "/hook")
    reply = asyncio.run(Poster(THIS_MACHINE, resolve=resolve).post(target, '{"a":1}', {"webhook-id": "msg_1"}))
    assert (reply.status, reply.delivered) == (204, True)
    assert receiver.bodies == [("msg_1", '{"a":1}')]


def test_redirects_are_not_followed_and_long_answers_are_cut(receiver: Receiver) -> None:
    target = Target("http", "127.0.0.1", receiver.port, "/hook")
    poster = Poster(THIS_MACHINE)
    receiver.statuses, receiver.headers = [302, 200], {"Location": f"http://127.0.0.1:{receiver.port}/other"}
    reply = asyncio.run(poster.post(target, "{}", {"webhook-id": "1"}))
    assert (reply.status, reply.delivered, len(receiver.bodies)) == (302, False, 1)
    receiver.answer = b"\x00\xff" + b"a" * 100_000
    reply = asyncio.run(poster.post(target, "{}", {"webhook-id": "2"}))
    assert reply.delivered
    assert reply.answer is not None
    assert len(reply.answer) == 500
    assert "\x00" not in reply.answer
    pages = [b"<html><form>Sign in to the network", b"<!doctype html>Access denied", b"<html>ok</html>", b"Sign in: ok"]
    said = []
    for receiver.answer in pages:
        receiver.statuses = [200]
        reply = asyncio.run(poster.post(target, "{}", {"webhook-id": "3"}))
        said.append((reply.delivered, reply.status, reply.error))
    assert said == [
        (False, 200, "a sign-in page came instead of the receiver's answer"),
        (False, 200, "a firewall's page came instead of the receiver's answer"),
        (True, 200, None),
        (True, 200, None),
    ]


def test_what_does_not_answer_in_time_or_refuses_is_said_in_words(receiver: Receiver) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def run() -> list[str | None]:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        poster = Poster(THIS_MACHINE, seconds=0.1)
        slow = await poster.post(Target("http", "127.0.0.1", port, "/"), "{}", {})
        tls = await Poster(THIS_MACHINE).post(Target("https", "127.0.0.1", receiver.port, "/"), "{}", {})
        server.close()
        closed = await poster.post(Target("http", "127.0.0.1", port, "/"), "{}", {})
        return [slow.error, tls.error, closed.error]

    assert asyncio.run(run()) == [
        "no answer within 0.1 seconds",
        "no connection: it does not speak TLS as we do",
        "connection refused: nothing listens there",
    ]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (socket.gaierror(-2, "kanari"), "its host name cannot be resolved (DNS)"),
        (OSError(errno.ENETUNREACH, "kanari"), "no network leads there from here"),
        (PermissionError(errno.EPERM, "kanari"), "this machine lets no connection out"),
        (httpcore.ConnectTimeout("kanari"), "it could not be connected to within 5 seconds"),
    ],
)
def test_why_there_is_no_connection_is_said_in_words(fault: Exception, words: str) -> None:
    async def resolve(*_: object) -> list[str]:
        raise fault

    reply = asyncio.run(Poster(resolve=resolve).post(Target("http", "x.example.com", 80, "/"), "{}", {}))
    assert reply.error == words


def test_how_long_a_receiver_asks_to_be_left_alone() -> None:
    assert [parse_retry_after(text, NOW).total_seconds() for text in (None, "", "12", "soon", "-5", "9" * 99)] == [
        0, 0, 12, 0, 0, LONGEST_RETRY_AFTER.total_seconds(),
    ]  # fmt: skip
    assert parse_retry_after("Mon, 23 Nov 2026 12:01:00 GMT", NOW).total_seconds() == 60
    assert parse_retry_after("Mon, 23 Nov 2020 12:01:00 GMT", NOW).total_seconds() == 0


def test_secrets_are_of_the_scheme_and_for_one_subscription() -> None:
    secret = new_secret()
    assert read_secret(f" {secret.text}\n") == secret
    for wrong in ("", "whsec_", "whsec_AAAA", secret.text.removeprefix("whsec_"), "whsec_!" * 9):
        with pytest.raises(SecretRefused) as refusal:
            read_secret(wrong)
        assert wrong not in str(refusal.value) or not wrong.removeprefix("whsec_")
    sealed = SecretCipher(KEYS).encrypt(secret, "crm")
    assert SecretCipher(KEYS).decrypt(sealed, "crm") == secret
    for cipher, name in ((SecretCipher(KEYS), "other"), (SecretCipher(()), "crm")):
        with pytest.raises(ClaimsUnavailable):
            cipher.decrypt(sealed, name)


def test_what_cannot_be_subscribed_is_named_at_once(outgoing: Outgoing) -> None:
    how: dict[str, Any] = {"cipher": outgoing.cipher, "allowed": (), "by": ANN, "now": outgoing.now}
    wrong = NewHook(" ", f"https://u:{HIDDEN}@x.example.com/", ("order.lost",), "x" * 101, "Post")
    with pytest.raises(InvalidSubscription) as refusal:
        subscribing.add(outgoing.store, wrong, **how)
    assert [problem.where for problem in refusal.value.problems] == ["Name", "URL", "Events", "Order type", "PO prefix"]
    assert HIDDEN not in str(refusal.value)
    for name in ("crm\nnew", "crm\tnew", "crm\u00a0new", "crm\u202enew"):
        with pytest.raises(InvalidSubscription, match="one line"):
            subscribing.add(outgoing.store, NewHook(name, "https://crm.example.com/"), **how)
    assert outgoing.rows(SUBSCRIPTIONS) == []
    outgoing.subscribe()
    with pytest.raises(NotAllowed):
        outgoing.subscribe()
    with pytest.raises(UnknownSubscription):
        subscribing.pause(outgoing.store, "other", by=ANN, now=outgoing.now)


def test_a_file_adds_what_is_missing_and_changes_nothing(
    outgoing: Outgoing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = new_secret()
    (tmp_path / "crm.secret").write_text(secret.text)
    file = tmp_path / "hooks.toml"
    file.write_text(
        '\ufeff[[hooks]]\nname = "crm"\nurl = "https://crm.example.com/new"\nsecret_file = "crm.secret"\n'
        '[[hooks]]\nname = "erp"\nurl = "https://erp.example.com/"\nevent_types = ["order.completed"]\n'
        'po_prefix = "FT-"\n'
    )
    how: dict[str, Any] = {"cipher": outgoing.cipher, "allowed": (), "by": ANN, "now": outgoing.now}
    outgoing.subscribe("crm")
    imported = importing.import_file(outgoing.store, file, **how)
    assert (imported.added, imported.left) == (("erp",), ("crm",))
    assert [outgoing.cipher.address_of(row) for row in outgoing.rows(SUBSCRIPTIONS)] == [
        "https://crm.example.com/hooks", "https://erp.example.com/",
    ]  # fmt: skip
    subscribing.remove(outgoing.store, "erp", by=ANN, now=outgoing.now)
    file.write_text(file.read_text().replace('"erp"', '" erp "').replace("\ufeff", ""))
    assert importing.import_file(outgoing.store, file, **how).added == (), "what was removed does not come back"
    good = '[[hooks]]\nname = "good"\nurl = "https://good.example.com"\n'
    file.write_text(f'{good}[[hooks]]\nname = "bad"\nurl = "https://10.0.0.1"\n')
    with pytest.raises(InvalidSubscription, match="bad: URL"):
        importing.import_file(outgoing.store, file, **how)
    assert len(outgoing.rows(SUBSCRIPTIONS)) == 2, "nothing of the file is added"
    monkeypatch.setattr(subscribing, "MOST_SUBSCRIPTIONS", 1)
    file.write_text(good)
    with pytest.raises(InvalidSubscription, match="remove one first"):
        importing.import_file(outgoing.store, file, **how)
    entry = '[[hooks]]\nname = "x"\n'
    named = f'{entry}url = "https://x.example.com"\n'
    wrong = ("no toml", 'hooks = "crm"', entry, f'{entry}url = "http://x.example.com"')
    for text in (*wrong, f'{named}secret = "1"', f'{named}key = "1"', f'{named}secret_file = "none"'):
        file.write_text(text)
        with pytest.raises(InvalidSubscription):
            importing.import_file(outgoing.store, file, **how)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ('secret_file = "empty"', "its secret_file .*empty is empty"),
        ('secret_file = "empty"\nsecret = "whsec_x"', "has a secret and a secret_file"),
        ('events = ["order.late"]', "'events' is none of these"),
        ('source = "csv file"', "x: Source: must be one of form, csv, json, cli, api, elsewhere"),
        ('[[hook]]\nname = "y"', "and nothing else"),
    ],
)
def test_what_a_file_would_lose_without_a_word_is_said(
    outgoing: Outgoing, tmp_path: Path, entry: str, why: str
) -> None:
    (tmp_path / "empty").write_text(" \n")
    file = tmp_path / "hooks.toml"
    file.write_text(f'[[hooks]]\nname = "x"\nurl = "https://x.example.com"\n{entry}\n')
    with pytest.raises(InvalidSubscription) as refusal:
        importing.check_file(file, ())
    assert re.search(why, "; ".join(map(str, refusal.value.problems)))


def test_a_source_is_known_in_any_case_and_as_people_read_it(outgoing: Outgoing) -> None:
    how: dict[str, Any] = {"cipher": outgoing.cipher, "allowed": (), "by": ANN, "now": outgoing.now}
    for name, source in (("a", "CSV"), ("b", "Other system"), ("c", None)):
        subscribing.add(outgoing.store, NewHook(name, "https://x.example.com", source=source), **how)
    assert [row["source"] for row in outgoing.rows(SUBSCRIPTIONS)] == ["csv", "elsewhere", None]
