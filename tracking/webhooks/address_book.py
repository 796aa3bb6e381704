"""Address book: which order each webhook address in use is for, by the hash of its token.

The token is derived from the PONumber and cannot be turned back into it, so that a call whose body names no order could
not be told to be one order's. A stored hash proves nothing by itself: whoever finds an order here verifies the token.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from tracking.storage import inbox
from tracking.storage.database import Database
from tracking.webhooks import addresses

ORDERS_AT_ONCE = 500


def store_addresses(connection: Connection, addresses_of: Mapping[int, str]) -> None:
    """Store for which order each address is. Step of the job that commits the attempts to send these orders."""
    tokens = {order_id: address.rpartition("/")[2] for order_id, address in addresses_of.items()}
    inbox.store_addresses(connection, [(addresses.token_digest(token), each) for each, token in tokens.items()])


def add_missing(database: Database, secrets: Sequence[str]) -> int:
    """Store the addresses of open orders that were sent before addresses were stored; returns how many orders.

    Blocks. Raises StoreError; calling it again goes on where it stopped.
    """
    last = count = 0
    while True:
        with database.read() as connection:
            page = inbox.orders_without_address(connection, after=last, limit=ORDERS_AT_ONCE)
        if not page:
            return count
        tokens = [
            (addresses.token_digest(addresses.make_token(po_number, secret)), order_id)
            for order_id, po_number in page
            for secret in secrets
        ]
        database.write(lambda connection, tokens=tokens: inbox.store_addresses(connection, tokens))  # type: ignore[misc]  # the default binds the loop's value
        last, count = page[-1][0], count + len(page)
