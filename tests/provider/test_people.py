import unicodedata

import pytest

from tracking.provider import people

NUMBER = "+1 (555) 010-0123"


@pytest.mark.parametrize(
    "other",
    [
        "+15550100123", "+1 555 010 0123", "1-555-010-0123", "0015550100123", "011 1 555 010 0123", "555.010.0123",
        "(555) 010 0123", "tel:+1-555-010-0123",
        "\uff0b\uff11\uff15\uff15\uff15\uff10\uff11\uff10\uff10\uff11\uff12\uff13",
        "+1\u00a0555\u2011010\u20110123", "+1/555/010/0123",
        "sms:+15550100123", "Tel. +1 555 010 0123", "Mobile: 555-010-0123", "WhatsApp +1 555 010 0123", "+15550100123;",
    ],
)  # fmt: skip
def test_a_number_is_the_same_with_any_signs_and_prefix(other: str) -> None:
    assert people.is_same(NUMBER, other)
    assert people.may_be_same(NUMBER, other) is None


def test_a_number_without_its_country_may_be_another() -> None:
    assert people.is_same("+49 (0)171 2345678", "0049 171 2345678")
    assert not people.is_same("0171 2345678", "+49 171 2345678")
    assert people.may_be_same("0171 2345678", "+49 171 2345678")
    assert people.may_be_same("+1 555 010 0123", "+1 555 010 0124") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Stra\u00dfe", "STRASSE"),
        ("\u0130smail I\u015f\u0131k", "ismail \u0131\u015f\u0131k"),
        ("Jos\u00e9", unicodedata.normalize("NFD", "JOS\u00c9")),
        ("Lee, Ann", "Ann Lee"),
        ("Pat O\u2019Brien", "pat o'brien"),
        ("Ann-Sophie Lee", "Ann  Sophie Lee"),
        ("Ann\u200bLee", "AnnLee"),
        ("\uff21\uff4e\uff4e", "ann"),
        ("Ann@Example.COM.", " ann@example.com"),
        ("ann@m\u00fcnchen.example", "ANN@XN--MNCHEN-3YA.example"),
        ("Ann Lee <ann@example.com>", "mailto:ann@example.com"),
        ("ann@example.com;", "(ann@example.com)"),
        ("'ann@example.com'", "SMTP:ann@example.com"),
        ("e-mail: ann@example.com", "mailto:ann@example.com?subject=Hello"),
        ("ann@example\u3002com", "ann&#64;example.com"),
        ("Pat O\u00b4Brien", "pat o'brien"),
        ("Pat O&#39;Brien", "Pat O'Brien"),
        ("M&uuml;ller", "M\u00fcller"),
    ],
)
def test_spellings_of_the_same_are_the_same(one: str, other: str) -> None:
    assert people.is_same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann+x@example.com", "ann@example.com"),
        ("a.nn@gmail.com", "ann@googlemail.com"),
        ("ann@stra\u00dfe.example", "ann@strasse.example"),
        ("Jose Garcia", "Jos\u00e9 Garc\u00eda"),
        ("Max M\u00fcller", "Max Mueller"),
        ("Ann M. Lee", "Ann Lee"),
        ("Lee Ann", "Ann Lee"),
        ("Pat O Brien", "Pat O'Brien"),
        ("JeanLuc Picard", "Jean-Luc Picard"),
        ("\u674e\u5c0f\u9f99", "\u674e \u5c0f\u9f99"),
        (
            "\u0646\u0648\u0631 \u0645\u062d\u0645\u062f",
            "\u0646\u064f\u0648\u0631 \u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f",
        ),
        ("+49 030 1234567", "+49 30 1234567"),
    ],
)
def test_what_may_be_somebody_else_is_not_the_same(one: str, other: str) -> None:
    assert not people.is_same(one, other)
    assert people.may_be_same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann Lee", "Bob Lee"),
        ("\u0410\u043d\u0434\u0440\u0435\u0439", "\u0410\u043d\u0434\u0440\u0435\u0438"),
        ("ann@example.com", "joann@example.com"),
        ("ann@example.com", "Ann"),
        ("a.nn@example.com", "ann@example.com"),
    ],
)
def test_others_are_others(one: str, other: str) -> None:
    assert not people.is_same(one, other)
    assert people.may_be_same(one, other) is None


def test_a_street_is_the_same_in_full_and_in_short() -> None:
    address = {"AddressLine1": "7 Hidden Lane", "City": "Troy", "State": "NY", "Zip": "12180", "Country": "US"}
    assert people.is_at("7 HIDDEN LN.", address)
    assert people.is_at("7 Hidden Lane, Troy NY 12180", address)
    assert not people.is_at("Hidden Lane", address)
    assert not people.is_at("7 Hidden Lane, Utica", address)
    assert people.street_address("Hauptstra\u00dfe 5") == people.street_address("HAUPTSTRASSE 5") == "hauptstr 5"


@pytest.mark.parametrize(
    ("text", "person", "named"),
    [
        ("call 001-555-010-0123, now", NUMBER, True),
        ("call 001-555-010-0124, now", NUMBER, False),
        ("sent to LEE, Ann yesterday", "Ann Lee", True),
        ("sent to Ann Leeds", "Ann Lee", False),
        ("(ann@EXAMPLE.com.)", "Ann@example.com", True),
        ("joann@example.com", "Ann@example.com", False),
    ],
)
def test_a_person_is_found_in_words(text: str, person: str, named: bool) -> None:
    assert people.is_mentioned(text, person) is named


@pytest.mark.parametrize(
    "wild", ["", " ", "@", "@@", "+", "()", ",", ", ,", "\u0301", "xn--@xn--\u00e9", "a@xn--99999999"]
)
def test_any_text_is_read(wild: str) -> None:
    assert not people.is_same(wild, "ann@example.com")
    assert people.may_be_same(wild, "ann@example.com") is None
    assert not people.is_mentioned("some text", wild or "x")
    people.search_forms(wild)


def test_a_search_of_punctuation_looks_for_no_single_letter() -> None:
    assert people.search_forms("<b>") == {"<b>"}
    assert people.search_forms("b") == {"b"}
    assert "oneil" in people.search_forms("O'Neil")
