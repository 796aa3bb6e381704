"""Statements as the product executes them, and what SQLite plans to do for each: which of them read without a bound.

A plan reads without a bound where it walks a table that grows with the orders, or one of its indexes, from end to end,
or sorts or groups what it read of one. Bounded by themselves are a walk that a LIMIT cuts with nothing to filter on the
way, and a sort of the lines, events or calls of one order, or of what a LIMIT had cut before.
"""

import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tracking.storage.database import Database
from tracking.storage.engines import casefold
from tracking.storage.sqlite.driver import dbapi

PACKAGE = Path(__file__).parents[2] / "tracking"
GROWING = frozenset(
    {
        "orders", "lines", "events", "claims", "outbox", "callbacks", "addresses", "exchanges", "predictions",
        "job_orders", "import_rows", "audit_log",
    }
)  # fmt: skip
# Rows of one order, one call, one line: what belongs to one of these is no more than a page.
_OF_ONE = re.compile(r"\((?:[^()]* AND )?(?:rowid|id|order_id|po_number|po_folded|provider_folded|digest|key|seq)=\?")
_PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
_SCAN = re.compile(r"^SCAN (?P<name>\w+)(?: USING (?:COVERING )?INDEX (?P<index>\w+))?")
# Each row joined has one partner at most; an event has its order in any case.
_JOIN = r"(?: (?:LEFT OUTER )?JOIN orders ON orders\.id = \w+\.order_id)?"
_CUT = r"(?: ORDER BY [^()]*?)? LIMIT "
# What ANALYZE finds in a store of a million orders: index, rows, and how many have the same first columns.
STATISTICS: Mapping[str, Mapping[str, str]] = {
    "orders": {
        "ix_orders_type": "1000000 250000 1",
        "ix_orders_value": "6000 1 1 1 1 1 1 1 1 1",
        "ix_orders_claimed": "100 100 1 1",
        "ix_orders_provider_folded": "1000000 1",
        "ix_orders_po_folded": "1000000 1",
        "ix_orders_following": "6000 1",
        "ix_orders_state": "1000000 250000 1",
        "ix_orders_open": "6000 1 1 1 1 1 1 1 1",
        "ix_orders_lifecycle": "6000 1500 1500 100",
        "ix_orders_first_sight": "1000 1",
        "ix_orders_flagged": "20000 1 1 1 1 1 1 1 1 1",
        "ix_orders_due": "6000 1",
        "ix_orders_created": "1000000 1 1 1",
        "ix_orders_batch_id": "1000000 500",
        "sqlite_autoindex_orders_2": "1000000 1",
        "sqlite_autoindex_orders_1": "1000000 1",
    },
    "events": {
        "ix_events_learned": "7700000 1",
        "ix_events_kind": "7700000 700000 1",
        "sqlite_autoindex_events_1": "7700000 8 1",
    },
    "lines": {
        "ix_lines_recipient": "3300000 9",
        "ix_lines_product_id": "3300000 550000",
        "ix_lines_external_id": "3300000 1",
        "sqlite_autoindex_lines_1": "3300000 4 1",
    },
    "counters": {"sqlite_autoindex_counters_1": "14000 3500 5 1"},
    "callbacks": {
        "ix_callbacks_waiting": "600 1",
        "ix_callbacks_received": "630000 1 1 1",
        "ix_callbacks_outcome": "630000 630000 1",
        "ix_callbacks_order_id": "630000 1",
        "sqlite_autoindex_callbacks_1": "630000 1",
    },
}


# Why a step that looks as if it had no bound has one all the same; by the function and the beginning of its step.
FLAGGED = "SCAN orders USING INDEX ix_orders_flagged"
SORT = "USE TEMP B-TREE FOR ORDER BY after SEARCH"
SNOOZED = "passes over what people snoozed of what needs a decision, up to a limit of rows"
FEW = "what one condition narrows the list to, RARE orders at the most"
OPEN_ALONE = "entries of an index that the open orders alone are in"
REFUSED = "the refused calls, of which REFUSALS_STORED are stored"
REASONS_OF_PAGES = {
    ("reports.activity._newest", "SCAN callbacks USING INDEX ix_callbacks_received"): f"passes over {REFUSED}",
    ("reports.activity._newest", f"{SORT} callbacks USING INDEX ix_callbacks_outcome"): REFUSED,
    ("reports.activity._newest", "SCAN exchanges USING INDEX ix_exchanges_at"): "API_CALLS_STORED are stored",
    ("reports.amounts._add_by_lines", "SCAN orders USING COVERING INDEX ix_orders_value"): OPEN_ALONE,
    ("reports.amounts.open_values", "SCAN orders USING COVERING INDEX ix_orders_lifecycle"): OPEN_ALONE,
    ("reports.board.decisions._flagged_orders", FLAGGED): SNOOZED,
    ("reports.logs.volume._volume", "USE TEMP B-TREE FOR GROUP BY"): "the newest ROWS_SEARCHED of the span",
    (
        "reports.order_list.conditions.count",
        "USE TEMP B-TREE FOR DISTINCT after SEARCH events",
    ): "as many as are counted",
    ("reports.order_list.view_counts._counted", FLAGGED): SNOOZED,
    (
        "storage.inbox.last_webhook_at",
        "SCAN callbacks USING COVERING INDEX ix_callbacks_received",
    ): f"passes over {REFUSED}",
    ("reports.order_list.search.cut", FLAGGED): SNOOZED,
    ("reports.order_list.search.cut", f"{SORT} orders USING"): FEW,
    ("storage.team.snoozing.counted", FLAGGED): "entries of an index of what nobody has decided yet",
}
GROUP = "USE TEMP B-TREE FOR GROUP BY after SEARCH"
ONE_FILE = "the orders of one file"
COMMAND = "reads all there is, in parts, for whoever asked for just that"
REASONS_OF_A_DAY = {
    (
        "app.web.metrics._of_webhooks",
        "SCAN callbacks USING COVERING INDEX ix_callbacks_outcome",
    ): "entries of an index, for whoever collects the metrics; nothing else counts them",
    ("app.web.metrics._work", "SCAN orders USING COVERING INDEX ix_orders_approval"): "what waits for approval",
    ("app.web.metrics._work", FLAGGED): "entries of an index of what nobody has decided yet",
    ("polling.backtest.history._recorded_orders", f"{SORT} callbacks USING INDEX ix_callbacks_order_id"): "the calls "
    "of the orders that are replayed, up to a limit",
    ("forecasting.lateness.update_late_times", "SCAN orders USING INDEX ix_orders_open"): OPEN_ALONE,
    ("polling.due_orders._read_parts", "SCAN orders USING INDEX ix_orders_following"): OPEN_ALONE,
    ("reports.exports.orders._by_place", "SCAN orders USING INDEX ix_orders_created"): COMMAND,
    ("reports.team.imports._placed_at", f"{GROUP} orders USING INDEX ix_orders_batch_id"): ONE_FILE,
    ("reports.team.imports._rejections", f"{GROUP} import_rows"): ONE_FILE,
    ("reports.team.imports._rejections", f"{SORT} import_rows"): ONE_FILE,
    ("reports.team.imports._states", f"{GROUP} orders USING INDEX ix_orders_batch_id"): ONE_FILE,
    ("reports.team.imports._values", f"{GROUP} orders USING INDEX ix_orders_batch_id"): ONE_FILE,
    ("storage.leases.lease_owners", f"{SORT} orders USING INDEX ix_orders_due"): OPEN_ALONE,
    ("storage.leases.lease_owners", "SCAN orders USING INDEX ix_orders_due"): OPEN_ALONE,
    (
        "storage.leases.lease_owners",
        "USE TEMP B-TREE FOR ORDER BY after SCAN orders USING INDEX ix_orders_due",
    ): OPEN_ALONE,
    ("storage.leases.lease_owners", f"{SORT} outbox USING INDEX ix_outbox_due"): "what waits to be sent",
    ("storage.maintenance.verify._read_start", "SCAN orders USING COVERING INDEX"): COMMAND,
    ("submissions.erasing.assignees._entries", f"{SORT} audit_log USING INDEX ix_audit_log_kind"): COMMAND,
    ("submissions.erasing.copies._pages_naming", "SCAN"): COMMAND,
    ("team.jobs.job", "SCAN orders"): "the orders of an act on many, AT_MOST of them, for whoever asked for just that",
}


@dataclass
class Recorded:
    """Each statement once, with the values it came with first, and the function of ours that asked."""

    statements: dict[str, tuple[str, Any, str]] = field(default_factory=dict)

    def note(self, connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if connection.dialect.name != "sqlite" or not statement.startswith(_PLANNED):
            return
        shape = re.sub(r"\?(, \?)+", "?, ?", statement)
        if shape not in self.statements:
            self.statements[shape] = (statement, values[0] if many else values, _asker())

    @property
    def askers(self) -> frozenset[str]:
        """Which functions asked the store for anything."""
        return frozenset(asker for _, _, asker in self.statements.values())


Complaints = dict[str, set[str]]
Reasons = Mapping[tuple[str, str], str]


def without(found: Complaints, reasons: Reasons) -> list[str]:
    """The complaints that no reason answers, as "function: step"; a reason is for a function and a step's start."""
    return sorted(
        f"{asker}: {step}"
        for asker, steps in found.items()
        for step in steps
        if not any(asker == of and step.startswith(start) for of, start in reasons)
    )


def unneeded(found: Complaints, reasons: Reasons) -> list[str]:
    """The reasons that answer no complaint."""
    return sorted(
        f"{asker}: {start}" for asker, start in reasons if not any(s.startswith(start) for s in found.get(asker, ()))
    )


@contextmanager
def recorded() -> Iterator[Recorded]:
    """Records what any SQLite engine of the process executes meanwhile."""
    record = Recorded()
    sa.event.listen(sa.Engine, "before_cursor_execute", record.note)
    try:
        yield record
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", record.note)


def _asker() -> str:
    """The innermost function of the package that is no part of a comprehension, such as "reports.overview._flow"."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(str(PACKAGE)) and not code.co_name.startswith("<"):
            module = Path(code.co_filename).relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
            if module != "storage.database":
                return f"{module}.{code.co_name}"
        frame = frame.f_back
    return ""


def unbounded(record: Recorded, database: Database) -> Complaints:
    """What of the plans has no bound, by the function that asks.

    Both in a store without statistics, as the product makes none, and in one that somebody has analyzed.
    """
    plain, analyzed = (_complaints_of(record, database, analyzed=analyzed) for analyzed in (False, True))
    return {asker: plain.get(asker, set()) | analyzed.get(asker, set()) for asker in {*plain, *analyzed}}


def _complaints_of(record: Recorded, database: Database, *, analyzed: bool) -> Complaints:
    planner = _planner(database, analyzed=analyzed)
    partial = {
        name: _plain(text.partition(" WHERE ")[2])
        for name, text in planner.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL")
        if " WHERE " in text
    }
    found: dict[str, set[str]] = {}
    for statement, values, asker in record.statements.values():
        if not asker:  # a test's own
            continue
        steps = planner.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
        if complaints := set(_complaints(steps, " ".join(statement.split()), partial)):
            found.setdefault(asker, set()).update(complaints)
    planner.close()
    return found


def _planner(database: Database, *, analyzed: bool) -> Any:
    """An empty store of the same tables, which is all that a plan goes by, but for the statistics."""
    planner = dbapi.connect(":memory:")
    planner.create_function("casefold", 1, casefold, deterministic=True)
    with database.read() as connection:
        # The virtual table of the search makes what it keeps its index in by itself.
        made = "sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'search_index_%'"
        texts = connection.execute(sa.text(f"SELECT sql FROM sqlite_master WHERE {made}")).scalars().all()
    for text in texts:
        planner.execute(text)
    if analyzed:
        planner.execute("ANALYZE sqlite_schema")
        rows = [(table, index, text) for table, indexes in STATISTICS.items() for index, text in indexes.items()]
        planner.executemany("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", rows)
        planner.execute("ANALYZE sqlite_schema")
    return planner


def _complaints(steps: Collection[Any], statement: str, partial: Mapping[str, str]) -> Iterator[str]:
    tables = {alias.lower(): table.lower() for table, alias in re.findall(r"\b(\w+) AS (\w+)", statement)}
    for _, parent, _, text in steps:
        if scan := _SCAN.match(text):
            name = scan["name"].lower()
            table = tables.get(name, name)
            if table in GROWING and not _is_cut(statement, table, name, partial.get(scan["index"] or "")):
                yield text
        elif text.startswith("USE TEMP B-TREE"):
            beside = [other for _, place, _, other in steps if place == parent and other.startswith(("SCAN", "SEARCH"))]
            first = next(iter(beside), "")
            if not _is_small(first, tables, statement):
                yield f"{text} after {first}"


def _plain(condition: str) -> str:
    return re.sub(r"\b\w+\.|\s+", lambda found: " " if found[0].isspace() else "", condition).strip()


def _is_cut(statement: str, table: str, name: str, condition: str | None) -> bool:
    """Whether a LIMIT ends the walk, and all that is met on the way counts: nothing filters, groups or joins.

    Of a partial index that is the whole condition which the index is made for.
    """
    source = table if table == name else f"{table} AS {name}"
    where = r"(?P<where> WHERE [^()]*?(?:\([^()]*\)[^()]*?)*?)?"
    for found in re.finditer(rf"FROM {source}{_JOIN}{where}{_CUT}", statement, re.IGNORECASE):
        filtered, before = found["where"], statement[: found.start()]
        if not filtered or (condition and _plain(filtered.removeprefix(" WHERE ")) == condition):
            return not re.match(r"SELECT (?:DISTINCT|count)", before[before.rfind("SELECT") :], re.IGNORECASE)
    return False


def _is_small(step: str, tables: Mapping[str, str], statement: str) -> bool:
    """Whether a step gives no more than a page: rows of one order, what does not grow, or what was cut before."""
    name = re.match(r"(?:SCAN|SEARCH) \(?([\w-]+)", step)
    if name is None:
        return False
    word = name[1].lower()
    if step.startswith("SEARCH") and _OF_ONE.search(step):
        return all("LIMIT" in inner for inner in _lists(statement))
    return tables.get(word, word) not in GROWING


def _lists(statement: str) -> Iterator[str]:
    """What stands within each `IN (SELECT ...)`: a search by its rows reads as many as it gives."""
    for found in re.finditer(r"IN \(SELECT", statement):
        depth, end = 1, found.start() + len("IN (")
        while depth:
            depth += {"(": 1, ")": -1}.get(statement[end], 0)
            end += 1
        yield statement[found.start() : end]
