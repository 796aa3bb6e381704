"""Commands for an order's evidence file: evidence makes one, verify-evidence proves one on any machine."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tracking.app.cli import options, output
from tracking.app.cli.context import open_store
from tracking.app.cli.orders import find_order
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.provider.json_fields import storable
from tracking.reports.evidence import verification
from tracking.reports.evidence.layout import NotEvidence
from tracking.reports.evidence.records import UNPROVEN
from tracking.reports.evidence.verification import Verification
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import examine
from tracking.team.evidence import export_evidence

COMPARE = (
    "No file proves itself: whoever makes one writes its manifest too. Compare this SHA-256 with the one noted when it "
    "was made, or with that in the console's audit log (`tracking audit --order PO_NUMBER --json`, evidence exported)."
)
_HOLDS = (
    "HOLDS in itself: its files fit its manifest, the chain of its events is whole, and facts, lines, answers and "
    "first page agree with it."
)


def evidence_command(
    po_or_id: options.PoOrId,
    *,
    file: Annotated[
        Path,
        typer.Option("--output", "-o", dir_okay=False, metavar="FILE", help="The file to write; -: stdout."),
    ],
    masked: Annotated[bool, typer.Option("--masked", help="Mask recipients, as for a viewer.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace FILE where it is there already.")] = False,
    with_log_head: Annotated[
        bool, typer.Option("--with-log-head", help="Verify the whole database and put its log head in; takes a while.")
    ] = False,
    actor: Annotated[
        str | None, typer.Option(parser=storable, metavar="NAME", help="Who makes it; default: you.")
    ] = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Make the evidence file of an order: its log with every hash, lines, API calls, webhooks, and a page to read."""
    if file != options.STREAM and file.exists() and not replace:
        raise typer.BadParameter(f"{file} is there already, and may be proof that somebody has: --replace replaces it")
    by, store = options.acting_person(actor), open_store()
    order_id = find_order(store, po_or_id)
    log_head = _log_head(store) if with_log_head else None
    made = export_evidence(store, order_id, masked=masked, by=by, now=utc_now(), log_head=log_head)
    with options.file_to_write(file) as handle:
        handle.write(made.content)
    record = {"file": str(file), "sha256": made.sha256, "masked": masked, "log_head": log_head}
    record |= {"po_number": made.po_number, "events": made.events, "head": made.head, "faults": made.faults}
    text = f"{file}: {wording.count(made.events, 'event')} of {made.po_number}, {len(made.content) / 1000:,.0f} kB"
    output.print_stderr(*(f"the order's log does not hold: {fault}" for fault in made.faults))
    options.print_written(file, record, text, f"SHA-256: {made.sha256}", as_json=as_json)
    raise typer.Exit(1 if made.faults else 0)


def _log_head(store: Database) -> str | None:
    with output.progress("recomputing") as progress:
        findings = examine(store, progress)
    output.print_stderr(*findings.differences[:20])
    if findings.differences:
        output.print_stderr("the database does not agree with its log; its log head is put in all the same")
    return str(findings.head) if findings.head else None


def verify_evidence_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An evidence file; -: stdin.")],
    *,
    as_json: options.JsonFlag = False,
) -> None:
    """Verify an evidence file without any database: exit 0 if all holds, 1 with what does not, 2 if it is none."""
    try:
        with options.file_to_read(file) as path:
            result = verification.verify_file(path)
    except (NotEvidence, OSError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        record = {"holds": False, "evidence": False, "differences": [why]}
        output.print_answer(record, *([] if as_json else [f"{file} cannot be verified: {why}"]), as_json=as_json)
        raise typer.Exit(2) from exc
    output.print_answer(_record(result), *_sentences(result), as_json=as_json)
    raise typer.Exit(1 if result.differences else 0)


def _record(result: Verification) -> dict[str, Any]:
    """What a file says of its order is an answer where it holds, and a claim where it does not."""
    manifest = {name: value for name, value in (result.manifest or {}).items() if name not in {"files", "format"}}
    says = {"verdict": result.verdict, "manifest": manifest}
    named = {"differences": list(result.differences), "caveats": list(result.caveats), "unproven": list(UNPROVEN)}
    record = {"holds": not result.differences, "evidence": True, **named, "sha256": result.sha256}
    return record | ({"claims": says} if result.differences else says)


def _sentences(result: Verification) -> list[str]:
    about = _about(result.manifest, result.verdict) if result.manifest else []
    if result.differences:
        many = wording.count(len(result.differences), "difference")
        begin = [
            f"DOES NOT HOLD: {many}. It was changed, made up, or made of a log that did not hold.",
            *result.differences,
        ]
        about = [f"it claims, and nothing proves it: {line}" for line in about]
    else:
        begin = [_HOLDS]
    return [
        *begin,
        *about,
        *(f"not checked: {caveat}" for caveat in result.caveats),
        *UNPROVEN,
        f"SHA-256 of the file: {result.sha256}",
        COMPARE,
    ]


def _about(manifest: Mapping[str, Any], verdict: str | None) -> list[str]:
    order = manifest["order"]
    masked = "recipients masked" if manifest["masked"] else "recipients in full"
    made = f"made {manifest['made_at'][:19]} UTC by {manifest['made_by']}, {masked}"
    head = f"head of its {order['events']} events: {order['head']}"
    log_head = [f"log head of its database: {manifest['log_head']}"] if manifest["log_head"] else []
    return [f"{order['po_number']}: {verdict or 'its events cannot be read'}", *_gone(order), made, head, *log_head]


def _gone(order: Mapping[str, Any]) -> Iterator[str]:
    """What was removed of the order before the file was made, and by what one knows of it."""
    if removed := order.get("removed"):
        first = wording.count(removed["events"], "event")
        yield (
            f"its first {first} left the database before and are not in it: what the order was by then is vouched "
            "for by the manifest alone"
        )
