import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import streamlit
from histories import History
from pages.conftest import page_links
from streamlit.elements.lib import policies
from streamlit.runtime.context import ContextProxy
from streamlit.testing.v1 import AppTest

from tracking.app.web.page_middleware import BROWSER_COOKIE
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.sandbox.faults import NOTE_WORDS
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey, get_fact, set_fact
from tracking.storage.tables import FACTS, OUTBOX

Visit = Callable[..., AppTest]

pytestmark = pytest.mark.usefixtures("catalogue")


def number_of(app: AppTest) -> str:
    return str(app.code[0].value)


def picked(app: AppTest, kind: str) -> AppTest:
    """The form with this type of order chosen."""
    app.session_state["order_type"] = kind
    return app.run()


def requests(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [row.request for row in connection.execute(OUTBOX.select())]


def test_the_number_is_made_once_and_shown_before_sending(visit: Visit) -> None:
    app = visit("new_order")
    first = number_of(app)
    assert first.startswith("FT-")
    app.run()
    app.switch_page("orders.py").run()
    app.switch_page("new_order.py").run()
    assert number_of(app) == first


def test_an_order_for_links_goes_from_form_to_queue(visit: Visit, database: Database) -> None:
    app = picked(visit("new_order"), "Links")
    number = number_of(app)
    app.selectbox(key="value_CVS").set_value(2500)
    app.number_input(key="quantity").set_value(3)
    app.button(key="add_line").click().run()
    app.text_input(key="order_note").set_value("wave 1").run()
    app.button(key="review").click().run()
    assert not app.exception
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Face value"] == "75.00 USD"
    assert shown["Balance"] == "1,000.00 USD"
    assert requests(database) == []
    app.button(key="send").click().run()
    assert not app.exception
    line = {"ProductId": "CVS", "Value": 25.0, "Quantity": 3}
    assert requests(database) == [{"Type": "Links", "PONumber": number, "Note": "wave 1", "LineItems": [line]}]
    assert f"order={number}" in page_links(app)[0].proto.query_string
    assert number_of(app) != number
    assert "No sender is running" in app.warning[-1].value
    now = datetime.now(UTC)
    database.write(lambda connection: facts.set_fact(connection, "beat:sender", {}, now))
    app.run()
    assert not any("No sender" in warning.value for warning in app.warning)


def test_a_line_fixes_the_type_at_once_and_without_lines_it_is_free(visit: Visit) -> None:
    app = picked(visit("new_order"), "Links")
    app.button(key="add_line").click().run()
    assert app.get("button_group")[1].proto.disabled
    assert len(app.dataframe[0].value) == 1
    app.button(key="remove_line").click().run()
    assert not app.exception
    assert not app.get("button_group")[1].proto.disabled
    assert not app.dataframe


def test_a_line_without_an_address_is_refused_and_a_good_one_is_added_once(visit: Visit, database: Database) -> None:
    app = picked(visit("new_order"), "DigitalDelivery")
    app.button(key="add_line").click().run()
    assert not app.exception
    assert [(error.proto.title, "DigitalDeliveryAddress" in error.value) for error in app.error] == [
        ("The line was not added", True)
    ]
    assert not app.dataframe
    app.text_input(key="email").set_value("ann@example.com")
    app.button(key="add_line").click().run()
    assert (app.text_input(key="email").value, list(app.error)) == ("", [])
    app.button(key="add_line").click().run()
    assert [error.proto.title for error in app.error] == ["The line was not added"]
    assert app.dataframe[0].value["recipient"].tolist() == ["ann@example.com"]
    app.button(key="review").click().run()
    app.button(key="send").click().run()
    assert requests(database)[0]["LineItems"][0]["DigitalDeliveryAddress"] == {"Email": "ann@example.com"}


def test_lines_show_to_whom_they_go_and_any_can_be_changed_or_removed(visit: Visit, database: Database) -> None:
    app = picked(visit("new_order"), "DigitalDelivery")
    for name in ("ann", "bob", "cid"):
        app.text_input(key="email").set_value(f"{name}@example.com")
        app.text_input(key="to").set_value(name)
        app.text_input(key="from_name").set_value("Abe")
        app.selectbox(key="value_CVS").set_value(2500)
        app.button(key="add_line").click().run()
    app.selectbox(key="picked_line").set_value(2).run()
    app.button(key="change_line").click().run()
    assert not app.exception
    shown = [app.text_input(key=key).value for key in ("email", "to")]
    assert (shown, app.selectbox(key="value_CVS").value) == (["bob@example.com", "bob"], 2500)
    assert app.dataframe[0].value["recipient"].tolist() == ["ann@example.com", "cid@example.com"]
    app.text_input(key="from_name").set_value("Bea")
    app.button(key="add_line").click().run()
    for _ in range(2):
        app.selectbox(key="picked_line").set_value(1).run()
        app.button(key="remove_line").click().run()
    app.button(key="review").click().run()
    assert [frame.value["recipient"].tolist() for frame in app.dataframe] == [["bob@example.com"]] * 2
    app.button(key="send").click().run()
    [line] = requests(database)[0]["LineItems"]
    assert (line["Value"], line["Personalization"]["FromName"]) == (25.0, "Bea")


def test_a_line_by_post_comes_back_into_the_form_as_it_was(visit: Visit) -> None:
    app = picked(visit("new_order"), "PhysicalShipment")
    app.number_input(key="value_PLASTIC").set_value(12.34)
    address = {"Name": "Ann", "AddressLine1": "1 Main St", "City": "Boston", "State": "MA", "Zip": "02101"}
    for name, text in address.items():
        app.text_input(key=f"address_{name}").set_value(text)
    app.button(key="add_line").click().run()
    assert app.dataframe[0].value["recipient"].tolist() == ["Ann, 1 Main St, Boston, MA, 02101, US"]
    assert [app.text_input(key=f"address_{name}").value for name in (*address, "Country")] == [""] * 5 + ["US"]
    app.text_input(key="address_Name").set_value("Bob").run()
    app.number_input(key="value_PLASTIC").set_value(99.0).run()
    app.button(key="change_line").click().run()
    assert not app.exception
    assert app.number_input(key="value_PLASTIC").value == 12.34
    assert [app.text_input(key=f"address_{name}").value for name in ("Name", "City", "Country")] == [
        "Ann",
        "Boston",
        "US",
    ]
    assert not app.dataframe


def test_cards_by_post_take_an_address_and_a_free_amount(visit: Visit, database: Database) -> None:
    app = picked(visit("new_order"), "PhysicalShipment")
    app.number_input(key="value_PLASTIC").set_value(12.34)
    address = {"Name": "Ann", "AddressLine1": "1 Main St", "City": "Boston", "State": "MA", "Zip": "02101"}
    for name, text in address.items():
        app.text_input(key=f"address_{name}").set_value(text)
    app.button(key="add_line").click().run()
    app.button(key="review").click().run()
    assert "Probable cost without postage" in [metric.label for metric in app.metric]
    app.button(key="send").click().run()
    assert not app.exception
    line = requests(database)[0]["LineItems"][0]
    assert line["Value"] == 12.34
    assert line["PhysicalDeliveryAddress"] == address | {"Country": "US", "ShippingMethodId": "STANDARD"}


def test_the_request_is_shown_without_credentials(visit: Visit) -> None:
    app = picked(visit("new_order"), "Links")
    app.button(key="add_line").click().run()
    app.button(key="review").click().run()
    shown = [code.value for code in app.code]
    assert json.loads(shown[1])["Type"] == "Links"
    assert '-H "Authorization: Bearer $TOKEN"' in shown[2]


def test_a_scenario_of_the_sandbox_goes_into_the_note(visit: Visit, database: Database) -> None:
    app = picked(visit("new_order"), "Links")
    app.button(key="add_line").click().run()
    app.text_input(key="order_note").set_value("wave 1")
    app.selectbox(key="scenario").set_value("slow").run()
    app.button(key="review").click().run()
    app.button(key="send").click().run()
    assert requests(database)[0]["Note"] == "wave 1 [slow]"


def test_every_scenario_word_of_the_sandbox_is_offered(visit: Visit) -> None:
    app = picked(visit("new_order"), "Links")
    app.button(key="add_line").click().run()
    assert app.selectbox(key="scenario").options == ["as usual", *NOTE_WORDS]


def test_a_second_click_orders_nothing_twice(visit: Visit, database: Database) -> None:
    app = picked(visit("new_order"), "Links")
    app.button(key="add_line").click().run()
    app.button(key="review").click().run()
    app.button(key="send").click().run()
    app.run()
    assert len(requests(database)) == 1


def csv(app: AppTest, text: str) -> AppTest:
    app.session_state["how"] = "CSV file"
    app.run()
    app.file_uploader(key="csv").upload("orders.csv", text.encode())
    return app.run()


GOOD = "Type,ProductId,Value,Quantity,Email,PONumber\n" + "\n".join(
    f"DigitalDelivery,CVS,10,1,p{number}@example.com,CSV-{number}" for number in range(3)
)


def test_a_file_is_checked_queued_and_accounted_for(visit: Visit, database: Database) -> None:
    app = csv(visit("new_order"), GOOD)
    assert not app.exception
    assert "3 rows, 3 orders, 3 cards worth 30.00 USD" in app.markdown[-1].value.replace("\\", "")
    assert requests(database) == []
    app.button(key="queue").click().run()
    assert not app.exception
    assert app.success[-1].value == "3 queued."
    assert "No sender is running: start `tracking worker`" in app.warning[-1].value
    assert len(requests(database)) == 3
    assert search.orders_page(database, Filters(source="csv"), History(database).at).total == 3


def test_a_file_before_the_catalogue_is_known_says_what_was_not_checked(visit: Visit, database: Database) -> None:
    words = "catalogue has not been read yet"
    assert not any(words in warning.value for warning in csv(visit("new_order"), GOOD).warning)
    database.write(lambda connection: connection.execute(FACTS.delete().where(FACTS.c.key == FactKey.CATALOG)))
    streamlit.cache_data.clear()
    app = csv(visit("new_order"), GOOD)
    assert any(words in warning.value for warning in app.warning)


def test_a_wrong_file_is_explained_row_by_row_and_not_sent(visit: Visit, database: Database) -> None:
    app = csv(visit("new_order"), GOOD + "\nDigitalDelivery,NOPE,10,1,x@example.com,CSV-9\nLinks,CVS,11,1,,CSV-10")
    assert not app.exception
    where = app.table[0].value["Where"].tolist()
    assert any("row 5" in place for place in where)
    assert any("row 6" in place for place in where)
    assert app.error[0].value == "2 problems. Nothing can be sent before they are mended."
    assert not [button for button in app.button if button.key == "queue"]


def test_one_problem_is_told_as_one_and_its_advice_is_text(visit: Visit) -> None:
    app = csv(visit("new_order"), f"{GOOD}\nLinks,**NOPE**,10,1,,CSV-9")
    assert app.error[0].value == "1 problem. Nothing can be sent before it is mended."
    assert r"\*\*NOPE\*\*" in app.table[0].value["What"][0]


def test_the_same_file_is_noticed_and_orders_nothing_twice(visit: Visit, database: Database) -> None:
    app = csv(visit("new_order"), GOOD)
    app.button(key="queue").click().run()
    again = csv(visit("new_order"), GOOD)
    assert any("Handed in at" in warning.value for warning in again.warning)
    again.button(key="queue").click().run()
    assert again.success[-1].value == "3 exists."
    assert len(requests(database)) == 3


def test_a_file_that_came_before_but_for_a_row_asks_whether_it_is_meant(visit: Visit, database: Database) -> None:
    rows = ["Type,ProductId,Value,Quantity,Email"]
    rows += [f"DigitalDelivery,CVS,10,1,p{number}@example.com" for number in range(3)]
    csv(visit("new_order"), "\n".join(rows)).button(key="queue").click().run()
    app = csv(visit("new_order"), "\n".join([*rows[:3], "DigitalDelivery,CVS,25,1,p2@example.com"]))
    assert any("2 rows of 3 were in orders" in warning.value for warning in app.warning)
    assert app.button(key="queue").disabled
    app.checkbox[0].check().run()
    app.button(key="queue").click().run()
    assert app.success[-1].value == "1 queued."
    assert len(requests(database)) == 2


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The cookies of whoever visits."""
    cookies = {BROWSER_COOKIE: "one"}
    monkeypatch.setattr(ContextProxy, "cookies", property(lambda _: cookies))
    return cookies


def drafted(app: AppTest) -> AppTest:
    """The form with a line that was added and a note."""
    app = picked(app, "DigitalDelivery")
    app.text_input(key="email").set_value("ann@example.com")
    app.button(key="add_line").click().run()
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
    again.button(key="change_line").click().run()
    again.button(key="add_line").click().run()
    assert not policies._shown_default_value_warning  # a widget with two first values: a stack trace in the log
    assert number_of(again) == number
    assert len(again.dataframe[0].value) == 1
    assert again.text_input(key="order_note").value == "wave 1"
    assert [info.proto.title for info in again.info] == ["Your draft is here again"]
    again.button(key="review").click().run()
    again.button(key="send").click().run()
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
    assert number_of(visit("new_order")) != number


def test_a_draft_that_is_nobodys_is_not_stored_and_that_is_said(visit: Visit, browser: dict[str, str]) -> None:
    browser.clear()
    app = drafted(visit("new_order"))
    assert not app.exception
    assert any("takes no cookie" in caption.value for caption in app.caption)
    assert not visit("new_order").info


def test_a_draft_without_lines_any_more_is_gone(visit: Visit, browser: dict[str, str]) -> None:
    assert browser
    app = drafted(visit("new_order"))
    app.button(key="remove_line").click().run()
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
    assert app.dataframe[0].value["value"].tolist() == ["10.00 USD", "10.00 CAD", "5,000 JPY"]
    app.button(key="review").click().run()
    # What is too long for the large letters of a metric is written small, and nothing of it is cut off.
    shown = [text.value.replace("\\", "") for text in app.container(key="reviewed").markdown]
    worth = "**10.00 CAD and 5,000 JPY and 10.00 USD**"
    assert shown == ["**Review**", worth, worth, "**1,000.00 (currency unknown)**"]
    assert [metric.label for metric in app.metric] == ["Cards"]
    assert any("several currencies" in warning.value for warning in app.warning)
    app.button(key="send").click().run()
    streamlit.cache_data.clear()
    overview = visit("overview")
    assert not overview.exception
    assert any("10.00 CAD and 5,000 JPY and 10.00 USD in 1 open" in c.value.replace("\\", "") for c in overview.caption)
    row = visit("orders").dataframe[0].value.iloc[0]
    assert row["value"] == "10.00 CAD and 5,000 JPY and 10.00 USD"


def test_what_is_listed_of_a_large_file_is_not_told_as_all_of_it(visit: Visit) -> None:
    rows = "".join(f"po-{number:03d},Links,CVS,10,1\n" for number in range(12))
    app = csv(visit("new_order"), f"PONumber,Type,ProductId,Value,Quantity\n{rows}")
    app.button(key="queue").click().run()
    assert not app.exception
    assert "And 2 more orders, in the list of orders." in [caption.value for caption in app.caption]
