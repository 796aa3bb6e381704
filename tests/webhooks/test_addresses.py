import re

from hypothesis import given
from hypothesis import strategies as st

from tracking.webhooks.addresses import TOKEN_LENGTH, make_token, verify_token

OLD, NEW = "an-old-secret-of-ours", "the-new-secret-of-ours"
ANY_TEXT = st.text(st.characters(codec=None, categories=None))


@given(ANY_TEXT)
def test_a_token_is_43_characters_that_an_address_can_hold(po_number: str) -> None:
    assert re.fullmatch(rf"[\w-]{{{TOKEN_LENGTH}}}", make_token(po_number, NEW), re.ASCII)


@given(ANY_TEXT, ANY_TEXT)
def test_a_token_fits_its_own_order_alone(po_number: str, other: str) -> None:
    assert verify_token(make_token(po_number, NEW), other, [NEW]) == (po_number == other)


def test_both_secrets_of_a_rotation_are_believed_and_no_third_one() -> None:
    assert verify_token(make_token("po", OLD), "po", [NEW, OLD])
    assert verify_token(make_token("po", NEW), "po", [NEW, OLD])
    assert not verify_token(make_token("po", "another-secret-entirely"), "po", [NEW, OLD])


@given(ANY_TEXT)
def test_whatever_is_presented_gets_a_plain_no(presented: str) -> None:
    assert verify_token(presented, "po", [NEW, OLD]) is False


def test_without_a_secret_nothing_fits() -> None:
    assert not verify_token(make_token("po", NEW), "po", [])
