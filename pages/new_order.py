"""New order: one by form, many by a CSV file. Nothing is sent before it was reviewed."""

import streamlit as st

import address
import cached
import csv_upload
import elements
import order_draft
import order_form
import order_review
import order_summary
import session
from charts.palette import LIGHT
from order_draft import Draft
from tracking.submissions.files import CheckedFile

# What Streamlit has no way for: the summary stays in view beside a long form, and the button that sends has a colour of
# its own where the account is live or a test.
WAYS = {"form": "One order", "file": "CSV file"}
STYLE = f"""<style>
@media (min-width: 641px) {{ div:has(> .st-key-summary) {{ position: sticky; top: 4rem; }} }}
.st-key-send_LIVE button:enabled {{ background: {LIGHT.trouble}; border-color: {LIGHT.trouble}; color: white; }}
.st-key-send_TEST button:enabled {{ background: {LIGHT.accent}; border-color: {LIGHT.accent}; color: white; }}
</style>"""


def one_order() -> None:
    """The form, with what it comes to beside it."""
    catalogue = cached.catalogue()
    if catalogue is None or not catalogue.products:
        st.info("The provider's catalogue has not been read yet. Try again in a moment.", icon=":material/hourglass:")
        st.button("Try again", key="retry_catalogue")
        return
    draft = order_draft.current()
    draft.reviewing = draft.reviewing and not st.session_state.get("entered")
    order_draft.say_restored(draft)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        places = order_form.draw(catalogue, draft)
    checked = order_draft.check(draft, catalogue)
    grant(draft, checked)
    order_form.show_problems(draft, checked, places)
    with right:
        order_summary.draw(catalogue, draft, checked)
    order_draft.keep(draft)
    if draft.reviewing:
        order_review.open_review(catalogue, draft, checked)


def grant(draft: Draft, checked: CheckedFile) -> None:
    """Do what was pressed, another line or the review, unless something is wrong: then that is shown."""
    wish, draft.wish = draft.wish, ""
    draft.reviewing = (draft.reviewing or wish == "review") and not checked.problems
    if not wish:
        return
    places = (order_form.line_of(problem.where) for problem in checked.problems)
    lines = [line for line in places if line is not None]
    if wish == "line" and draft.at not in lines:
        order_draft.next_line(draft)
        st.rerun()
    if wish == "review" and lines and draft.at not in lines:
        order_draft.show(min(lines))
        st.rerun()
    wrong = {order_form.field_of(problem.where) for problem in checked.problems}
    closed = {"more_of_line": order_form.EXPANDED_FIELDS, "pictures": order_form.PICTURES}
    hidden = [key for key, names in closed.items() if wrong & {*names} and not st.session_state.get(key)]
    if hidden:
        st.session_state.update({f"open_{key.partition('_')[0]}": True for key in hidden})
        st.rerun()


if why_not := session.may_not_act():
    st.info(f"{why_not} Orders can be put together and checked, not sent.", icon=":material/lock:")
st.html(STYLE)
how = address.choice("how", WAYS, "form")
st.segmented_control(
    "How", list(WAYS), format_func=WAYS.__getitem__, required=True, label_visibility="collapsed",
    **address.bound("how", how, "form"),
)  # fmt: skip
with elements.error_box():
    if how == "file":
        csv_upload.draw()
    else:
        one_order()
