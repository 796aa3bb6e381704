import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import expiry
import pytest
from histories import History
from sqlalchemy import select
from streamlit.elements.lib import policies
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.runtime.context import ContextProxy
from streamlit.testing.v1 import AppTest

import order_draft
import order_review
import order_scenarios
from tracking.app.web.page_middleware import BROWSER_COOKIE
from tracking.orders.policy.approval_limit import ApprovalLimit
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.sandbox.faults import NOTE_WORDS
from tracking.settings.loading import process_settings
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey, get_fact, set_fact
from tracking.storage.tables import FACTS, OUTBOX
from tracking.storage.team import approval_rule
from tracking.storage.team.tables import JOBS
from tracking.team.imports.placing import place_here

Visit = Callable[..., AppTest]

pytestmark = pytest.mark.usefixtures("catalogue")


def number_of(app: AppTest) -> str:
    return str(app.session_state["draft"].po_number)


def picked(app: AppTest, kind: str) -> AppTest:
    """The form with this type of order chosen."""
    app.session_state["order_type"] = kind
    return app.run()


def requests(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [row.request for row in connection.execute(OUTBOX.select())]


def reviewed(app: AppTest) -> AppTest:
    app.button(key="review").click().run()
    assert not app.exception
    return app


def plain(text: str) -> str:
    """The text without what keeps it from being Markdown."""
    return text.replace("\\", "").replace("\u2060", "")


def written(app: AppTest) -> str:
    return plain("\n".join(element.value for kind in (app.markdown, app.caption) for element in kind))


def recipients(app: AppTest) -> list[str]:
    return [order_draft.recipient_text(line) for line in app.session_state["draft"].lines]


def errors_of(app: AppTest) -> list[str]:
    """What is written in red below the fields."""
    sign = ":material/error: "
    return [text.partition(sign)[2].rstrip("]") for text in written(app).splitlines() if sign in text]


def test_the_number_is_made_once_and_shown_before_sending(visit: Visit) -> None:
    app = visit("new_order")
    first = number_of(app)
    assert first.startswith("FT-")
    assert f"`{first}`" in written(app)
    app.run()
    app.switch_page("orders.py").run()
    app.switch_page("new_order.py").run()
    assert number_of(app) == first


def test_a_test_order_takes_review_and_send_and_ends_on_its_own_page(visit: Visit, database: Database) -> None:
    app = visit("new_order")
    number = number_of(app)
    reviewed(app)
    assert requests(database) == []
    assert "nothing real is ordered" in written(app)
    assert any("No sender is running" in warning.value for warning in app.warning)
    assert plain(app.button(key="send").label) == "Send 1 card, 10.00 USD"
    app.button(key="send").click().run()
    assert not app.exception
    line = {"ProductId": "CVS", "Value": 10, "Quantity": 1}
    assert requests(database) == [{"Type": "Links", "PONumber": number, "LineItems": [line]}]
    assert app.query_params["order"] == number
    assert [toast.value.replace("\\", "") for toast in app.toast] == [
        "Order queued. It will be sent even if you close this page."
    ]
    app.switch_page("new_order.py").run()
    assert number_of(app) != number


def test_an_order_for_links_is_summed_up_beside_the_form_and_in_the_review(visit: Visit, database: Database) -> None:
    app = visit("new_order")
    app.selectbox(key="value_CVS").set_value(2500)
    app.text_input(key="quantity").set_value("3")
    app.text_input(key="order_note").set_value("wave 1").run()
    now = datetime.now(UTC)
    database.write(lambda connection: facts.set_fact(connection, "beat:sender", {}, now))
    reviewed(app)
    shown = written(app)
    assert shown.count("**75.00 USD**") == 4  # face value and cost, in the summary and in the review
    assert shown.count("**1,000.00 USD**") == shown.count("**925.00 USD**") == 2
    assert "Note: wave 1" in shown
    assert not any("No sender" in warning.value for warning in app.warning)
    json_text, curl = (code.value for code in app.code)
    assert json.loads(json_text)["Note"] == "wave 1"
    assert '-H "Authorization: Bearer $TOKEN"' in curl
    app.session_state["draft"].reviewing = False
    app.text_input(key="quantity").set_value("50").run()
    assert "exceeds the balance by 250.00 USD" in plain(app.warning[-1].value)


def test_the_live_account_is_named_on_a_button_of_its_own_and_asks_who_acts(
    visit: Visit, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKING_API_BASE_URL", "https://provider.example")
    monkeypatch.setenv("TRACKING_API_EMAIL", "ops@example.com")
    monkeypatch.setenv("TRACKING_API_ACCESS_TOKEN", "not-a-real-token")
    process_settings.cache_clear()
    said = {"failing_since": datetime.now(UTC).isoformat(), "failures": 3, "last_error": "NotSent: no connection"}
    database.write(lambda connection: facts.set_fact(connection, "client", said, datetime.now(UTC)))
    approval_rule.enforce(database, ApprovalLimit.parse("5 USD"), datetime.now(UTC))
    app = reviewed(visit("new_order"))
    waits = "This order will not be sent before a second operator has approved it: above the limit of 5.00 USD."
    assert plain(app.info[-1].value) == waits
    assert "scenario" not in app.session_state
    assert "this order is real and costs money" in app.error[-1].value
    assert "will be sent automatically" in "".join(warning.value for warning in app.warning)
    assert plain(app.button(key="send").label) == "Send 1 card, 10.00 USD, LIVE"
    assert app.button(key="send").disabled
    app.text_input(key="actor_name").set_value("Ann").run()
    app.button(key="send").click().run()
    assert len(requests(database)) == 1
    assert [toast.value.replace("\\", "") for toast in app.toast] == [
        "Order placed. It waits for a second operator's approval."
    ]


def test_what_is_wrong_stands_at_its_field_and_nothing_is_lost(visit: Visit, database: Database) -> None:
    app = picked(visit("new_order"), "DigitalDelivery")
    assert errors_of(app) == []  # what is missing is told once somebody wants to go on
    app.text_input(key="to").set_value("Ann").run()
    assert errors_of(app) == ["From is missing: fill it in"]
    reviewed(app)
    assert errors_of(app) == ["E-mail or mobile (SMS) is missing: fill it in", "From is missing: fill it in"]
    assert plain(app.error[0].value) == "Fix before sending: E-mail or mobile (SMS), From"
    assert app.session_state["more_of_line"]
    app.text_input(key="email").set_value("ann@example").run()
    assert errors_of(app)[0] == "E-mail must be an e-mail address, such as name@example.com"
    picked(picked(app, "Links"), "DigitalDelivery")  # another type hides the field for a while
    app.button(key="add_line").click().run()
    assert recipients(app) == ["ann@example"]
    app.text_input(key="email").set_value("ann@example.com")
    app.text_input(key="from_name").set_value("Ben").run()
    assert errors_of(app) == []
    app.button(key="add_line").click().run()
    assert recipients(app) == ["ann@example.com", ""]
    assert (app.text_input(key="email").value, app.text_input(key="from_name").value) == ("", "Ben")
    app.button(key="edit_0").click().run()
    reviewed(app)  # the line with a problem is in the form again
    assert app.session_state["draft"].at == 1
    assert errors_of(app) == ["E-mail or mobile (SMS) is missing: fill it in", "To is missing: fill it in"]
    app.button(key="remove_1").click().run()
    reviewed(app).button(key="send").click().run()
    assert requests(database)[0]["LineItems"][0]["DigitalDeliveryAddress"] == {"Email": "ann@example.com"}


def test_lines_show_to_whom_they_go_and_any_can_be_changed_or_removed(visit: Visit, database: Database) -> None:
    app = picked(visit("new_order"), "DigitalDelivery")
    assert not app.get("button_group")[2].proto.disabled
    for name in ("ann", "bob", "cid"):
        app.text_input(key="email").set_value(f"{name}@example.com")
        app.text_input(key="to").set_value(name)
        app.text_input(key="from_name").set_value("Abe")
        app.selectbox(key="value_CVS").set_value(2500)
        app.button(key="add_line").click().run()
    app.button(key="remove_3").click().run()
    assert app.get("button_group")[2].proto.disabled  # all lines are of one type
    app.button(key="edit_1").click().run()
    assert not app.exception
    shown = [app.text_input(key=key).value for key in ("email", "to")]
    assert (shown, app.selectbox(key="value_CVS").value) == (["bob@example.com", "bob"], 2500)
    app.text_input(key="from_name").set_value("Bea")
    app.button(key="remove_0").click().run()
    app.button(key="remove_1").click().run()
    assert recipients(app) == ["bob@example.com"]
    reviewed(app)
    assert "1. CVS Pharmacy, 1 card of 25.00 USD" in written(app)
    assert "bob@example.com\nTo: bob; From: Bea" in written(app)
    app.button(key="send").click().run()
    [line] = requests(database)[0]["LineItems"]
    assert (line["Value"], line["Personalization"]["FromName"]) == (25.0, "Bea")


def test_a_line_by_post_comes_back_into_the_form_as_it_was(visit: Visit, database: Database) -> None:
    app = picked(visit("new_order"), "PhysicalShipment")
    app.text_input(key="value_PLASTIC").set_value("12.34")
    address = {"Name": "Ann", "AddressLine1": "1 Main St", "City": "Boston", "State": "MA", "Zip": "02101"}
    for name, text in address.items():
        app.text_input(key=f"address_{name}").set_value(text)
    app.button(key="add_line").click().run()
    assert recipients(app) == ["Ann, 1 Main St, Boston, MA, 02101, US", "US"]
    assert [app.text_input(key=f"address_{name}").value for name in (*address, "Country")] == [""] * 5 + ["US"]
    app.text_input(key="address_Name").set_value("Bob")
    app.text_input(key="value_PLASTIC").set_value("99").run()
    app.button(key="edit_0").click().run()
    assert not app.exception
    assert app.text_input(key="value_PLASTIC").value == "12.34"
    assert [app.text_input(key=f"address_{name}").value for name in address] == list(address.values())
    assert recipients(app)[1] == "Bob, US"
    app.button(key="remove_1").click().run()
    reviewed(app)
    assert "Estimated cost, without postage" in written(app)
    app.button(key="send").click().run()
    line = requests(database)[0]["LineItems"][0]
    assert line["Value"] == 12.34
    assert line["PhysicalDeliveryAddress"] == address | {"Country": "US", "ShippingMethodId": "STANDARD"}


def test_a_value_or_quantity_that_cannot_be_is_kept_told_at_its_field_and_not_reviewed(visit: Visit) -> None:
    app = picked(visit("new_order"), "PhysicalShipment")
    app.text_input(key="quantity").set_value("0")
    outside = "Value: {} is outside what PLASTIC comes in; use 5 to 500"
    no_amount = "Value must be an amount above 0 with at most two decimals, such as 10 or 12.50"
    cases = {"99999999": outside.format(99999999), "0.001": no_amount, "-5": no_amount}
    for entered, problem in cases.items():
        app.text_input(key="value_PLASTIC").set_value(entered)
        app.button(key="review").click().run()
        assert {problem, "Quantity must be a whole number from 1 to 1,000,000"} <= {*errors_of(app)}, entered
        assert not app.session_state["draft"].reviewing
        assert [app.text_input(key=key).value for key in ("value_PLASTIC", "quantity")] == [entered, "0"]
        assert "Plastic card, value or quantity to fix" in written(app).replace("*card*", "card")
        assert not re.search("card of|Face value|Balance after", written(app))
    app.text_input(key="quantity").set_value("2,5").run()
    app.switch_page("orders.py").run()
    app.switch_page("new_order.py").run()
    assert not app.exception
    assert [app.text_input(key=key).value for key in ("value_PLASTIC", "quantity")] == ["-5", "2,5"]


def test_a_text_that_is_too_long_is_kept_and_told_at_its_field(visit: Visit) -> None:
    app = visit("new_order")
    texts = {"order_note": 650, "external_id": 101, "photo_url": 151}
    for key, length in texts.items():
        app.text_input(key=key).set_value("x" * length)
    app.text_area(key="message").set_value("x" * 401)
    reviewed(app)
    assert {text for text in errors_of(app) if "at most" in text} == {
        "Note has 650 characters; at most 250: shorten it",
        "Reference has 101 characters; at most 100: shorten it",
        "Photo address has 151 characters; at most 150: shorten it",
        "Message has 401 characters; at most 400: shorten it",
    }
    assert (app.session_state["more_of_line"], app.session_state["pictures"]) == (True, True)
    assert not app.session_state["draft"].reviewing
    assert [len(app.text_input(key=key).value or "") for key in texts] == [*texts.values()]
    assert not any(field.proto.max_chars for field in (app.text_input(key="order_note"), app.text_area(key="message")))


def test_the_review_says_what_comes_back_where_there_is_no_recipient(visit: Visit, database: Database) -> None:
    with database.read() as connection:
        stored = get_fact(connection, "catalogue")
    assert stored
    product = stored.value["products"][0] | {"delivery_types": ["Codes", "Links"]}
    database.write(
        lambda connection: set_fact(connection, "catalogue", stored.value | {"products": [product]}, stored.at)
    )
    app = reviewed(picked(visit("new_order"), "Codes"))
    assert "Codes, for you to pass on" in written(app)
    assert "Claim links, for" not in written(app)
    app.session_state["draft"].reviewing = False
    assert "Claim links, for you to pass on" in written(reviewed(picked(app, "Links")))


def test_scenarios_are_offered_in_words_and_their_words_go_into_the_note(visit: Visit, database: Database) -> None:
    app = visit("new_order")
    app.session_state["scenario"] = "other"
    app.run()
    assert {*order_scenarios.FIRST, *app.selectbox(key="other_scenario").options} >= {"", "timeout", "slow"}
    assert len(order_scenarios.FIRST) - 1 + len(app.selectbox(key="other_scenario").options) == len(NOTE_WORDS)
    app.session_state["scenario"] = "timeout"
    app.text_input(key="order_note").set_value("wave 1").run()
    assert "watch how it is settled" in written(app)
    reviewed(app).button(key="send").click().run()
    assert requests(database)[0]["Note"] == "wave 1 [timeout]"


def test_a_second_click_orders_nothing_twice(visit: Visit, database: Database) -> None:
    app = reviewed(visit("new_order"))
    draft = app.session_state["draft"]
    app.button(key="send").click().run()
    app.run()
    assert len(requests(database)) == 1
    app.switch_page("new_order.py").run()
    app.session_state["draft"] = draft  # as for a click that was on its way meanwhile
    app.run()
    app.button(key="send").click().run()
    assert not app.exception
    assert app.query_params["order"] == draft.po_number
    assert len(requests(database)) == 1


def place(database: Database) -> int:
    """Places what waits, as the backend does; how many orders that were."""
    with database.read() as connection:
        jobs = list(connection.execute(select(JOBS.c.id)).scalars())
    return sum(database.write(partial(place_here, job_id=job, now=datetime.now(UTC))) for job in jobs)


def csv(app: AppTest, text: str) -> AppTest:
    app.query_params["how"] = "file"
    app.run()
    app.file_uploader(key="csv").upload("orders.csv", text.encode())
    return app.run()


GOOD = "Type,ProductId,Value,Quantity,Email,PONumber\n" + "\n".join(
    f"DigitalDelivery,CVS,10,1,p{number}@example.com,CSV-{number}" for number in range(3)
)


def test_a_file_is_checked_queued_and_accounted_for(visit: Visit, database: Database) -> None:
    app = csv(visit("new_order"), GOOD)
    assert not app.exception
    assert app.dataframe[0].value["status"].tolist() == [["Ready"]] * 3
    assert "No sender is running: start `tracking console`" in app.warning[-1].value
    assert plain(app.button(key="queue").label) == "Send 3 orders, 3 cards, 30.00 USD"
    assert requests(database) == []
    app.button(key="queue").click().run()
    assert not app.exception
    assert [toast.value.replace("\\", "") for toast in app.toast] == [
        "All rows are saved. They become orders and are sent even if you close this page."
    ]
    assert app.query_params["import"] == "1"
    assert place(database) == 3
    assert len(requests(database)) == 3
    assert search.orders_page(database, Filters(source="csv"), History(database).at).total == 3


def test_a_file_of_real_size_asks_who_sends_it_also_in_the_sandbox(
    visit: Visit, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_review, "TRIED_AT_MOST", 2)
    app = csv(visit("new_order"), GOOD)
    assert app.button(key="queue").disabled
    app.text_input(key="actor_name").set_value("Ann Lead").run()
    app.button(key="queue").click().run()
    with database.read() as connection:
        assert connection.execute(select(JOBS.c.person)).scalar_one() == "Ann Lead"


def test_a_file_before_the_catalogue_is_known_says_what_was_not_checked(visit: Visit, database: Database) -> None:
    words = "catalogue has not been read yet"
    assert not any(words in warning.value for warning in csv(visit("new_order"), GOOD).warning)
    database.write(lambda connection: connection.execute(FACTS.delete().where(FACTS.c.key == FactKey.CATALOG)))
    expiry.expire()
    app = csv(visit("new_order"), GOOD)
    assert any(words in warning.value for warning in app.warning)


def test_a_wrong_file_is_explained_in_groups_and_row_by_row_and_not_sent(visit: Visit, database: Database) -> None:
    wrong = "".join(f"\nDigitalDelivery,**NOPE**,10,1,x{n}@example.com,CSV-9{n}" for n in range(250))
    app = csv(visit("new_order"), f"{GOOD}{wrong}\nLinks,CVS,11,1,,CSV-10")
    assert not app.exception
    assert app.error[0].value == "Fix these before sending. Nothing was sent."
    groups = app.table[0].value.to_dict("records")
    assert [(group["Rows"], group["Where"]) for group in groups] == [("250", "rows 5 to 254"), ("1", "row 255")]
    assert r"ProductId\: the provider sells no '\*\*NOPE\*\*'" in groups[0]["Problem"]
    preview = app.dataframe[0].value
    assert (len(preview), preview["row"].iloc[0], preview["status"].iloc[0]) == (200, 5, ["Fix"])
    assert "The first 200 of 254 rows; rows to fix come first." in written(app)
    assert "**251**" in written(app)
    assert not any(button.key == "queue" for button in app.button)


def test_a_file_that_cannot_be_read_has_no_count_of_rows(visit: Visit) -> None:
    app = csv(visit("new_order"), "nothing, that we know\n")
    assert not app.exception
    assert app.error[0].value == "Fix these before sending. Nothing was sent."
    assert "Rows" not in written(app).replace("Rows with", "")


def test_the_same_file_is_noticed_and_orders_nothing_twice(visit: Visit, database: Database) -> None:
    app = csv(visit("new_order"), GOOD)
    app.button(key="queue").click().run()
    assert csv(visit("new_order"), GOOD).dataframe[0].value["status"].tolist() == [["Saved"]] * 3
    place(database)
    again = csv(visit("new_order"), GOOD)
    assert any("This file was uploaded before" in warning.value for warning in again.warning)
    assert "Its import" in [link.proto.label for link in again.page_link]
    assert again.dataframe[0].value["status"].tolist() == [["Ordered"]] * 3
    again.button(key="queue").click().run()
    assert again.query_params["import"] == "1"
    assert place(database) == 0
    assert len(requests(database)) == 3


def test_a_file_that_came_before_but_for_a_row_asks_whether_it_is_meant(visit: Visit, database: Database) -> None:
    rows = ["Type,ProductId,Value,Quantity,Email"]
    rows += [f"DigitalDelivery,CVS,10,1,p{number}@example.com" for number in range(3)]
    csv(visit("new_order"), "\n".join(rows)).button(key="queue").click().run()
    place(database)
    app = csv(visit("new_order"), "\n".join([*rows[:3], "DigitalDelivery,CVS,25,1,p2@example.com"]))
    assert any("2 rows of 3 were in orders" in warning.value for warning in app.warning)
    assert app.button(key="queue").disabled
    app.checkbox[0].check().run()
    app.button(key="queue").click().run()
    assert place(database) == 1
    assert len(requests(database)) == 2


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The cookies of whoever visits."""
    cookies = {BROWSER_COOKIE: "one"}
    monkeypatch.setattr(ContextProxy, "cookies", property(lambda _: cookies))
    return cookies


def drafted(app: AppTest) -> AppTest:
    """The form with a line and a note."""
    app = picked(app, "DigitalDelivery")
    app.text_input(key="email").set_value("ann@example.com")
    return app.text_input(key="order_note").set_value("wave 1").run()


def test_a_draft_outlives_the_session_and_that_is_said(
    visit: Visit, browser: dict[str, str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = drafted(visit("new_order"))
    number = number_of(app)
    assert not app.info
    monkeypatch.setattr(policies, "_shown_default_value_warning", False)
    again = visit("new_order")
    assert not again.exception
    assert not policies._shown_default_value_warning  # a widget with two first values: a stack trace in the log
    assert number_of(again) == number
    assert again.text_input(key="email").value == "ann@example.com"  # also the line that is in the form is part of it
    assert again.text_input(key="order_note").value == "wave 1"
    assert "Your draft was restored" in again.info[0].value
    again.switch_page("orders.py").run()
    again.switch_page("new_order.py").run()
    assert recipients(again) == ["ann@example.com"]
    reviewed(again).button(key="send").click().run()
    assert requests(database)[0]["Note"] == "wave 1"
    assert requests(database)[0]["LineItems"][0]["DigitalDeliveryAddress"] == {"Email": "ann@example.com"}
    fresh = visit("new_order")
    assert number_of(fresh) != number
    assert not fresh.info


def test_a_draft_is_for_its_browser_alone_and_can_be_thrown_away(visit: Visit, browser: dict[str, str]) -> None:
    number = number_of(drafted(visit("new_order")))
    browser[BROWSER_COOKIE] = "two"
    assert number_of(visit("new_order")) != number
    browser[BROWSER_COOKIE] = "one"
    app = visit("new_order")
    assert number_of(app) == number
    app.button(key="discard_draft").click().run()
    assert not app.exception
    assert number_of(app) != number
    assert [app.text_input(key=key).value for key in ("email", "order_note")] == ["", ""]
    assert number_of(visit("new_order")) != number


def test_a_draft_that_is_nobodys_is_not_stored_and_that_is_said(visit: Visit, browser: dict[str, str]) -> None:
    browser.clear()
    app = drafted(visit("new_order"))
    assert not app.exception
    assert any("accepts no cookies" in caption.value for caption in app.caption)
    assert not visit("new_order").info


def test_a_form_that_is_as_it_was_at_first_is_no_draft(visit: Visit, browser: dict[str, str]) -> None:
    assert browser
    app = visit("new_order")
    app.text_input(key="order_note").set_value("wave 1").run()
    app.text_input(key="order_note").set_value("").run()
    assert not visit("new_order").info


def test_an_order_of_two_currencies_is_reviewed_as_that(visit: Visit, database: Database) -> None:
    with database.read() as connection:
        stored = get_fact(connection, "catalogue")
    assert stored
    maple = stored.value["products"][0] | {"id": "MAPLE", "name": "Maple", "currency": "CAD"}
    yen = maple | {"id": "YEN", "currency": "JPY", "denominations": [500_000]}
    several = stored.value | {"products": [*stored.value["products"], maple, yen]}
    database.write(lambda connection: set_fact(connection, "catalogue", several, stored.at))
    app = picked(visit("new_order"), "Links")
    for product in ("CVS", "MAPLE", "YEN"):
        app.selectbox(key="product_id").set_value(product).run()
        app.button(key="add_line").click().run()
    assert not app.exception
    app.button(key="remove_3").click().run()
    reviewed(app)
    shown = written(app)
    assert re.findall("1 card of (.*)", shown) == ["10.00 USD", "10.00 CAD", "5,000 JPY"] * 2
    assert shown.count("**10.00 CAD and 5,000 JPY and 10.00 USD**") == 4
    assert "**1,000.00 (currency unknown)**" in shown
    assert "**unknown, for several currencies**" in shown
    assert any("Several currencies" in warning.value for warning in app.warning)
    app.button(key="send").click().run()
    expiry.expire()
    row = visit("orders").dataframe[0].value.iloc[0]
    assert row["value"] == "10.00 CAD and 5,000 JPY and 10.00 USD"


def test_a_browser_that_lost_the_form_is_shown_what_was_entered_and_not_empty_fields(visit: Visit) -> None:
    app = visit("new_order")
    app.text_input(key="quantity").set_value("3").run()
    app.text_input(key="external_id").set_value("R-1").run()
    app.text_area(key="message").set_value("Thanks").run()
    app._run(WidgetStates())  # it sends none of the fields, as it has just begun to show them
    for field in (app.text_input(key="quantity"), app.text_input(key="external_id"), app.text_area(key="message")):
        assert (field.value, field.proto.set_value, field.proto.value) == (field.value, True, field.value)
    assert app.text_input(key="quantity").value == "3"
