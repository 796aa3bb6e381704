"""Executes the product's statements without the share of time that SQLAlchemy's engine takes of each.

What is executed stays the same: the SQL that SQLAlchemy compiles, values and rows as its types convert them, its own
transactions, results and errors. Left out is only what it finds out anew with each execution of the same statement.
One seed in sixteen goes through SQLAlchemy's own connection.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from sqlalchemy import Connection
from sqlalchemy.engine import Row, RowMapping
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import MultipleResultsFound, NoResultFound, SQLAlchemyError

from tracking.storage.sqlite.driver import dbapi


class Unsuited(Exception):
    """A statement that only SQLAlchemy's own way executes."""


class Found:
    """What SQLAlchemy's results offer, of rows that were fetched already."""

    def __init__(self, found: list[Any], prepared: "Prepared | None" = None, rowcount: int = -1) -> None:
        self._found, self._prepared, self.rowcount = found, prepared, rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all())

    def all(self) -> list[Any]:
        if self._prepared is None:
            return self._found
        return [Row(*self._prepared.shape, found) for found in self._found]

    def partitions(self, _size: int) -> Iterator[list[Any]]:
        if found := self.all():
            yield found

    def mappings(self) -> "Found":
        assert self._prepared is not None
        return Found([RowMapping(*self._prepared.shape, found) for found in self._found])

    def scalars(self) -> "Found":
        assert self._prepared is not None
        _, converters, _ = self._prepared.shape
        convert = converters[0] if converters else None
        return Found([convert(found[0]) if convert else found[0] for found in self._found])

    def first(self) -> Any:
        return next(iter(self), None)

    def one_or_none(self) -> Any:
        if len(self._found) > 1:
            raise MultipleResultsFound
        return self.first()

    def one(self) -> Any:
        if len(self._found) != 1:
            raise MultipleResultsFound if self._found else NoResultFound
        return self.first()

    def scalar(self) -> Any:
        return self.scalars().first()

    def scalar_one(self) -> Any:
        return self.scalars().one()


class Prepared:
    """A statement compiled for the names of the values it gets and, where those are lists for IN, for their lengths."""

    def __init__(self, statement: Any, example: Mapping[str, Any], dialect: Any, *, many: bool) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=sorted(example), for_executemany=many)
        if compiled.literal_execute_params or compiled.update_prefetch or (many and compiled._insertmanyvalues):
            raise Unsuited
        self.many = many
        known = compiled.construct_params(example, escape_names=False) | _defaults(compiled)
        sources = {name: _given(bind, name, example) for bind, name in compiled.bind_names.items()}
        self.sql, order, converters = compiled.string, compiled.positiontup, compiled._bind_processors
        self._lists: list[tuple[Sequence[str], str]] = []
        if compiled.post_compile_params:
            expanded = compiled._process_parameters_for_postcompile(dict(known))
            self.sql, order, converters = expanded.statement, expanded.positiontup, converters | expanded.processors
            known |= expanded.additional_parameters
            parts = expanded.parameter_expansion.items()
            self._lists = [(names, source) for name, names in parts if (source := sources[name])]
        listed = {name: name for names, _ in self._lists for name in names}
        self._order = [listed.get(name) or sources.get(name) or f"fixed {name}" for name in order]
        self._fixed = {f"fixed {name}": known[name] for name in order if f"fixed {name}" in self._order}
        self._converted = [(position, converters[name]) for position, name in enumerate(order) if name in converters]
        keys = [column.keyname for column in compiled._result_columns]
        if len(set(keys)) < len(keys):
            raise Unsuited
        processors = [column.type._cached_result_processor(dialect, None) for column in compiled._result_columns]
        names = SimpleResultMetaData(keys, _processors=processors)
        # What SQLAlchemy makes a row of, but for the row itself.
        self.shape = names, names._effective_processors, names._key_to_index

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """What is bound, in its order."""
        if self._fixed or self._lists:
            whole = {**given, **self._fixed}
            for names, source in self._lists:
                whole.update(zip(names, given[source], strict=True))
            given = whole
        values = [given[name] for name in self._order]
        for position, convert in self._converted:
            values[position] = convert(values[position])
        return values


def _given(bind: Any, name: str, example: Mapping[str, Any]) -> str | None:
    """Under which key the value is given, as SQLAlchemy looks for it; None where the statement holds it itself."""
    return next((key for key in (bind.key, name) if key in example), None)


def _defaults(compiled: Any) -> dict[str, Any]:
    defaults = {}
    for column in compiled.insert_prefetch:
        if not column.default.is_scalar:
            raise Unsuited
        defaults[compiled._within_exec_param_key_getter(column)] = column.default.arg
    return defaults


def _lists(statement: Any, dialect: Any) -> tuple[str, ...]:
    """Under which keys lists for IN are given."""
    return tuple(bind.key for bind in statement.compile(dialect=dialect).post_compile_params if bind.required)


class ShortConnection(Connection):
    """SQLAlchemy's connection, with a shorter way for statements that come again and for what frames transactions."""

    _prepared: ClassVar[dict[int, tuple[Any, tuple[str, ...], dict[Any, Prepared | None]]]] = {}
    _seen: ClassVar[WeakValueDictionary[int, Any]] = WeakValueDictionary()

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """As SQLAlchemy's, where a statement is new or of a kind that is not prepared."""
        known = self._prepared.get(id(statement))
        if known is None:
            # One that is built for each call must not be kept; only one that lives comes again.
            if self._seen.get(id(statement)) is statement:
                self._prepared[id(statement)] = (statement, _lists(statement, self.dialect), {})
            else:
                self._seen[id(statement)] = statement
            return super().execute(statement, parameters, execution_options=execution_options)
        rows: Sequence[Mapping[str, Any]]
        rows = parameters if isinstance(parameters, list) else [parameters or {}]
        _, lists, ways = known
        key = (len(rows) > 1, *rows[0], *(len(rows[0][name]) for name in lists))
        if key not in ways:
            ways[key] = self._prepare(statement, rows[0], many=len(rows) > 1)
        if (prepared := ways[key]) is None:
            return super().execute(statement, parameters, execution_options=execution_options)
        return self._run(prepared, rows)

    def _prepare(self, statement: Any, example: Mapping[str, Any], *, many: bool) -> Prepared | None:
        try:
            return Prepared(statement, example, self.dialect, many=many)
        except (Unsuited, SQLAlchemyError):
            return None

    def _run(self, prepared: Prepared, rows: Sequence[Mapping[str, Any]]) -> Any:
        if self._transaction is None:
            self._autobegin()
        elif not self._transaction.is_active or (self._nested_transaction and not self._nested_transaction.is_active):
            self._invalid_transaction()
        values: list[Any] = []
        try:
            values = [prepared.values(row) for row in rows]
            raw = self._raw
            cursor = raw.executemany(prepared.sql, values) if prepared.many else raw.execute(prepared.sql, values[0])
            return Found(cursor.fetchall(), prepared, cursor.rowcount)
        except Exception as exc:  # noqa: BLE001 - it is told apart where SQLAlchemy tells its own
            self._handle_dbapi_exception(exc, prepared.sql, values, None, None)

    # What frames transactions, as the engine's events do it

    _begins: ClassVar[str]

    @property
    def _raw(self) -> Any:
        """SQLite's own connection."""
        return self.connection.dbapi_connection

    def _at_once(self, sql: str) -> None:
        try:
            self._raw.execute(sql)
        except dbapi.Error as exc:
            self._handle_dbapi_exception(exc, sql, (), None, None)

    def _begin_impl(self, _transaction: object) -> None:
        self._at_once(self._begins)

    def _commit_impl(self) -> None:
        try:
            self._raw.commit()
        except dbapi.Error as exc:
            self._handle_dbapi_exception(exc, "COMMIT", (), None, None)

    def _savepoint_impl(self, name: str | None = None) -> str:
        name = name or "job"
        self._at_once(f"SAVEPOINT {name}")
        return name

    def _rollback_to_savepoint_impl(self, name: str) -> None:
        if self._still_open_and_dbapi_connection_is_valid:
            self._at_once(f"ROLLBACK TO SAVEPOINT {name}")

    def _release_savepoint_impl(self, name: str) -> None:
        self._at_once(f"RELEASE SAVEPOINT {name}")


class ShortWriter(ShortConnection):
    """The writer's, whose transactions write from the beginning."""

    _begins = "BEGIN IMMEDIATE"


class ShortReader(ShortConnection):
    """A reader's, without transactions: nobody can write between two statements of a reader, as all is one thread."""

    def _autobegin(self) -> None:
        pass
