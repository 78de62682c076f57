"""Trustee's store in PostgreSQL: a table a namespace, columns ``key`` and ``value``. Read only.

Source: Trustee deps/key-value-storage src/postgres: ``value BYTEA, key TEXT PRIMARY KEY``; the tables have
the namespaces' names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, make_url, text
from sqlalchemy.exc import ArgumentError

from coco.trustee.entries import MAX_ENTRIES, MAX_ENTRY_BYTES, NAMESPACES, Entry
from common.errors import InvalidSetting
from storage.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

_DRIVER: Final = "postgresql+psycopg"
_SCHEMES: Final = frozenset({"postgres", "postgresql", _DRIVER})
# Tables are quoted: the names are those of ``NAMESPACES``, never a caller's.
_ROWS: Final = {
    name: text(
        f'SELECT key, value FROM "{name}" WHERE octet_length(value) <= :limit '  # noqa: S608
        "ORDER BY key LIMIT :count"
    )
    for name in NAMESPACES
}
_LARGE: Final = {
    name: text(f'SELECT key FROM "{name}" WHERE octet_length(value) > :limit')  # noqa: S608
    for name in NAMESPACES
}


class Postgres:
    """A Trustee database.

    Args:
        url: ``postgresql://user:password@host:port/db``.
        namespaces: those to read.

    Raises:
        InvalidSetting: not such a URL.
    """

    def __init__(self, url: str, namespaces: tuple[str, ...] = NAMESPACES) -> None:
        """Connect to nothing yet."""
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError) as error:
            raise InvalidSetting("the PostgreSQL URL of the Trustee store cannot be read") from error
        if parsed.drivername not in _SCHEMES:
            raise InvalidSetting("the URL of the Trustee store is not one of PostgreSQL")
        self._url = parsed.set(drivername=_DRIVER)
        self._namespaces = namespaces

    @property
    def where(self) -> str:
        """Host and database."""
        return f"postgresql://{self._url.host or 'localhost'}/{self._url.database or ''}"

    def entries(self) -> Iterator[Entry]:
        """See ``Store``."""
        database = Database(self._url.render_as_string(hide_password=False))
        try:
            with database.read() as connection:
                tables = set(inspect(connection).get_table_names())
                for namespace in self._namespaces:
                    if namespace not in tables:
                        continue
                    limits = {"limit": MAX_ENTRY_BYTES, "count": MAX_ENTRIES}
                    for key, value in connection.execute(_ROWS[namespace], limits):
                        data = value.encode("utf-8") if isinstance(value, str) else bytes(value)
                        yield Entry(namespace, str(key), data)
                    for (key,) in connection.execute(_LARGE[namespace], {"limit": MAX_ENTRY_BYTES}):
                        yield Entry(namespace, str(key), None, f"it is larger than {MAX_ENTRY_BYTES} bytes")
        finally:
            database.close()
