"""Statements of hot paths: written in SQLAlchemy Core, compiled once, executed on the driver's own cursor.

A Core statement costs several times what SQLite needs to answer it: building it, its cache key, its result
object. Here it is built and compiled once per dialect, and each execution is the driver's alone, inside the
transaction of the ``Connection`` that it is given. Rows are plain tuples in the order of the columns.

Only for columns whose values go to the driver as they are (text, integers, bytes); tests run them on both
databases. Errors are SQLAlchemy's own, without parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import BindParameter, Connection
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.base import Executable


class Prepared:
    """One statement; parameters are ``bindparam`` names.

    Args:
        build: makes the statement, once per dialect.
    """

    __slots__ = ("_build", "_compiled")

    def __init__(self, build: Callable[[], Executable]) -> None:
        """Compile nothing yet."""
        self._build = build
        self._compiled: dict[str, tuple[str, tuple[str, ...] | None, dict[str, Any]]] = {}

    def all(self, connection: Connection, **values: Any) -> list[tuple[Any, ...]]:
        """Every row."""
        rows: list[tuple[Any, ...]] = self._run(connection, values).fetchall()
        return rows

    def first(self, connection: Connection, **values: Any) -> tuple[Any, ...] | None:
        """The first row, or None. All are fetched: a statement must be run to its end."""
        rows = self._run(connection, values).fetchall()
        return rows[0] if rows else None

    def run(self, connection: Connection, **values: Any) -> int:
        """Execute; how many rows were changed."""
        return int(self._run(connection, values).rowcount)

    def many(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Execute once for each of ``rows``; nothing for none."""
        if rows:
            texts = [self.text_for(connection.dialect, row) for row in rows]
            self._execute(connection, "executemany", texts[0][0], [given for _, given in texts])

    def text_for(self, dialect: Dialect, values: dict[str, Any]) -> tuple[str, Any]:
        """SQL and parameters as the dialect's driver takes them."""
        known = self._compiled.get(dialect.name)
        if known is None:
            known = self._compiled[dialect.name] = _compile(self._build(), dialect)
        text, order, constants = known
        if constants:
            values = constants | values
        return text, values if order is None else [values[name] for name in order]

    def _run(self, connection: Connection, values: dict[str, Any]) -> Any:
        return self._execute(connection, "execute", *self.text_for(connection.dialect, values))

    def _execute(self, connection: Connection, method: str, text: str, parameters: Any) -> Any:
        dialect = connection.dialect
        # The driver's connection, inside the transaction that ``Database`` began and will end.
        cursor = connection.connection.dbapi_connection.cursor()  # type: ignore[union-attr]
        try:
            getattr(cursor, method)(text, parameters)
        except dialect.loaded_dbapi.Error as error:
            raise DBAPIError.instance(
                text, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect
            ) from error
        return cursor


class PreparedList:
    """A statement over a list of values, prepared once for each length up to ``MOST``.

    Args:
        build: makes the statement of the bind parameters that stand for the members.
    """

    MOST = 32
    __slots__ = ("_build", "_by_length")

    def __init__(self, build: Callable[[list[BindParameter[Any]]], Executable]) -> None:
        """Prepare nothing yet."""
        self._build = build
        self._by_length: dict[int, Prepared] = {}

    def all(self, connection: Connection, members: Sequence[Any], **values: Any) -> list[tuple[Any, ...]]:
        """Every row; none for an empty list."""
        if not members:
            return []
        return self._of(len(members)).all(connection, **_numbered(members), **values)

    def run(self, connection: Connection, members: Sequence[Any], **values: Any) -> None:
        """Execute; nothing for an empty list."""
        if members:
            self._of(len(members)).run(connection, **_numbered(members), **values)

    def _of(self, length: int) -> Prepared:
        known = self._by_length.get(length)
        if known is None:
            bound: list[BindParameter[Any]] = [bindparam(f"member_{index}") for index in range(length)]
            known = self._by_length[length] = Prepared(lambda: self._build(bound))
        return known


def _numbered(members: Sequence[Any]) -> dict[str, Any]:
    return {f"member_{index}": member for index, member in enumerate(members)}


def _compile(statement: Executable, dialect: Dialect) -> tuple[str, tuple[str, ...] | None, dict[str, Any]]:
    """SQL, the order of its parameters where they are positional, and those with a value (a limit)."""
    compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    order = compiled.positiontup
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return str(compiled), None if order is None else tuple(order), constants
