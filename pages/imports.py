"""Imports: the files whose orders were uploaded, how far each is; and with `?import=ID` all of one."""

import pandas as pd
import streamlit as st

import address
import elements
import import_page
import session
import times
from tracking.orders import wording
from tracking.reports.team.imports import STATE_LABELS, ImportLine, ImportState, imports

ROW_HEIGHT = 30


@elements.live("5s", "imports")
def listed() -> None:
    """A page of the imports, read anew every few seconds."""
    page = address.page("page")
    lines, more = imports(session.database(), page)
    if not lines and page == 1:
        st.caption("Nothing was imported yet.")
        st.page_link(
            "new_order.py", label="Upload a CSV file", icon=":material/upload_file:", query_params={"how": "file"}
        )
        return
    frame = table_frame(lines)
    palette = elements.palette()
    colors = {STATE_LABELS[ImportState.PLACING]: palette.primary, STATE_LABELS[ImportState.STOPPED]: palette.warning}
    colors |= {STATE_LABELS[ImportState.PLACED]: palette.accent}
    others = ImportState.UPLOADING, ImportState.DISCARDED, ImportState.EARLIER
    colors |= dict.fromkeys((STATE_LABELS[state] for state in others), palette.muted)
    event = st.dataframe(
        frame,
        key=f"imports_{page}",
        height="content",
        row_height=ROW_HEIGHT,
        hide_index=True,
        placeholder="",
        on_select="rerun",
        selection_mode="single-row",
        alt=f"{wording.count(len(lines), 'imported file')}, newest first",
        column_config={
            "file": st.column_config.ButtonColumn(
                "File", type="tertiary", key="open_import", alignment="left", width=220, pinned=True
            ),
            "state": elements.pill_column("State", colors, width=130),
            "share": st.column_config.ProgressColumn(
                "Processed", min_value=0, max_value=100, format="%d %%", width=110
            ),
            "orders": st.column_config.NumberColumn("Orders", format="localized", width=80),
            "rejected": st.column_config.NumberColumn("Rejected", format="localized", width=80),
            "rows": st.column_config.NumberColumn("Rows", format="localized", width=80),
            "uploaded_at": times.column("Uploaded", width=160),
            "actor": st.column_config.TextColumn("By", width=150),
            "number": st.column_config.NumberColumn("Import", format="%d", width=70),
        },
    )
    click = st.session_state.get("open_import")
    row = click["row"] if click else next(iter(event.selection.rows), None)
    if row is not None and 0 <= row < len(lines):
        st.query_params.from_dict({"import": str(lines[row].id)})
        st.rerun()
    if more or page > 1:
        key = f"imports_page_{page}"
        st.pagination(page + more, default=page, key=key, on_change=_turn_page, args=(key,))


def _turn_page(key: str) -> None:
    address.write("page", st.session_state[key], 1)


def table_frame(lines: list[ImportLine]) -> pd.DataFrame:
    """The table's cells; of a file without orders nothing is settled."""
    cells = {
        "file": [wording.plain(line.name) or "(no name)" for line in lines],
        "state": [[line.state_label] for line in lines],
        "share": [100 * line.placed // line.orders if line.orders else 0 for line in lines],
        "orders": [line.orders for line in lines],
        "rejected": [line.rejected for line in lines],
        "rows": [line.rows for line in lines],
        "uploaded_at": [line.created_at for line in lines],
        "actor": [wording.plain(line.actor or "") for line in lines],
        "number": [line.id for line in lines],
    }
    return pd.DataFrame(cells).assign(file=lambda frame: elements.shortened(frame["file"]))


number = address.number("import")
with elements.error_box():
    if number is None:
        st.header("Imports", anchor=False)
        address.say_unusable("import", "all imports")
        listed()
    else:
        import_page.draw(number)
