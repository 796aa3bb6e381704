"""Jobs: acts on many orders; one job with its progress, what it skipped and why, and each of its orders."""

import streamlit as st

import address
import elements
import job_page
import job_words
import session
import times
from tracking.orders.observations import utc_now
from tracking.reports.team import jobs as reports
from tracking.reports.team.jobs import JobStatus

PAGES_KEY = "jobs_page"


def row_of(job: JobStatus) -> dict[str, object]:
    """One job as a row of the table."""
    return {
        "job": str(job.id),
        "act": job_words.naming(job.act, job.total),
        "state": [job.state_label.capitalize()],
        "progress": 100 * (job.total - job.waiting) / job.total if job.total else 100,
        "done": job.done,
        "skipped": job.skipped,
        "person": job.person,
        "started": job.created_at,
        "which": job_words.chosen_by(job.filter),
    }


@elements.live("5s", "jobs_list")
def draw_list() -> None:
    """The jobs, newest first, a page of them; a number opens its job."""
    st.header("Jobs", anchor=False)
    page = st.session_state.get(PAGES_KEY, 1)
    listed = reports.jobs(session.database(), page)
    if not listed.total:
        st.info("No jobs yet. Select orders in the list, or all that match, and choose what to do with them.")
        st.page_link("orders.py", label="Orders", icon=":material/list_alt:", query_params={"view": "attention"})
        return
    palette = elements.palette()
    colors = {"Running": palette.accent, "Stopped": palette.warning, "Complete": palette.primary}
    st.dataframe(
        [row_of(job) for job in listed.jobs],
        key="jobs_table",
        hide_index=True,
        height="content",
        alt=f"{len(listed.jobs)} of {listed.total:,} jobs, the newest first, {listed.running} of them running",
        column_config={
            "job": st.column_config.ButtonColumn(
                "Job", type="tertiary", alignment="left", key="jobs_open", width=60, pinned=True
            ),
            "act": st.column_config.TextColumn("What", width=220),
            "state": elements.pill_column("State", colors, width=90),
            "progress": st.column_config.ProgressColumn("Progress", min_value=0, max_value=100, format="%d %%"),
            "done": st.column_config.NumberColumn("Done", format="localized"),
            "skipped": st.column_config.NumberColumn("Skipped", format="localized"),
            "person": "By",
            "started": times.column("Started"),
            "which": st.column_config.TextColumn("Which orders", width=260),
        },
    )
    click = st.session_state.get("jobs_open")
    if click and 0 <= click["row"] < len(listed.jobs):
        st.switch_page("jobs.py", query_params={"job": str(listed.jobs[click["row"]].id)})
    pages = -(-listed.total // reports.PAGE_SIZE)
    if pages > 1:
        st.pagination(pages, key=PAGES_KEY)


def draw_way() -> None:
    """The ways back: to all jobs, and to the list as this session last saw it."""
    with st.container(horizontal=True, gap="small", key="way"):
        st.page_link("jobs.py", label="All jobs", icon=":material/arrow_back:", query_params={"page": "1"})
        if (left := st.session_state.get("orders_filter")) is not None:
            query = left or {"view": "all"}
            st.page_link("orders.py", label="Back to the orders", icon=":material/list_alt:", query_params=query)


with elements.error_box():
    asked = address.number("job")
    if asked is None:
        address.say_unusable("job", "all jobs")
        draw_list()
    else:
        draw_way()
        job_page.draw(reports.job(session.database(), asked, utc_now()).id)
