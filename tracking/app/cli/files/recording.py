"""Records what is exported by a command in the audit log."""

from typing import Any

from tracking.app.cli.options import acting_person
from tracking.orders.observations import utc_now
from tracking.settings.values import Settings
from tracking.storage.database import Database
from tracking.team import disclosures


def record_export(store: Database, loaded: Settings, what: str, **detail: Any) -> None:
    """Record in the audit log that the user of this command exported something. Raises StoreError."""
    secret = loaded.webhook_secrets()[0]
    disclosures.record_export(store, what, by=acting_person(), now=utc_now(), secret=secret, **detail)
