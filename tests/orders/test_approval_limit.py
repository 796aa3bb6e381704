import pytest

from tracking.orders.policy.approval_limit import ApprovalLimit


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("500", "500"),
        (" 500 usd ,450.5EUR", "500 USD, 450.50 EUR"),
        ("500 USD, 400", "500 USD, 400"),
        ("0", "0"),
        ("400, 0.99 CHF", "400, 0.99 CHF"),
    ],
)
def test_a_limit_is_read_and_written_back(text: str, written: str) -> None:
    limit = ApprovalLimit.parse(text)
    assert str(limit) == written
    assert ApprovalLimit.parse(str(limit)) == limit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,500 USD", "without a comma"),
        ("450,500 USD", "without a comma"),
        ("1.500", "no amount"),
        ("-5", "no amount"),
        ("500 dollars", "no amount"),
        ("$500", "no amount"),
        ("USD", "no amount"),
        ("500 USD, 400 usd", "two limits for USD"),
        ("500, 400", "two limits for all currencies"),
        (",", "names no amount"),
        ("1" * 10, "no amount"),
    ],
)
def test_what_is_no_limit_is_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ApprovalLimit.parse(text)


@pytest.mark.parametrize(
    ("limit", "values", "why"),
    [
        ("500", {"USD": 50_000}, None),
        ("500", {"USD": 50_001}, "above the limit of 500.00 USD"),
        ("500", {"": 50_001}, "above the limit of 500.00"),
        ("500", {"": 50_000}, None),
        ("500 USD, 450 EUR", {"EUR": 45_001}, "above the limit of 450.00 EUR"),
        ("500 USD, 450 EUR", {"eur": 45_000}, None),
        ("500 USD, 450 EUR", {"GBP": 1}, "no limit is set for GBP"),
        ("500 USD, 450 EUR", {"": 1}, "its currency is not known, and limits are by currency"),
        ("500 USD, 400", {"GBP": 40_001}, "above the limit of 400.00 GBP"),
        ("500 USD, 400", {"": 40_001}, "above the limit of 400.00 (the lowest limit, as its currency is not known)"),
        ("500 USD, 450 EUR", {"USD": 25_000, "EUR": 22_500}, None),
        ("500 USD, 450 EUR", {"USD": 25_000, "EUR": 22_501}, "the amounts of its currencies are together above"),
        ("0", {"USD": 1}, "above the limit of 0.00 USD"),
        ("0 USD, 500", {"USD": 0}, None),
    ],
)
def test_what_waits_and_why(limit: str, values: dict[str, int], why: str | None) -> None:
    answer = ApprovalLimit.parse(limit).why_waits(values)
    assert answer is None if why is None else (answer or "").startswith(why)
