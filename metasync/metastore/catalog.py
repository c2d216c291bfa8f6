"""One catalog of a metastore that has several (3.1 and later).

Calls that take a database's name by position take `@catalog#database`; structs have a field for it. Which is which is
read off the bindings' own specifications, so that no call can forget it (seen live on 3.1.3 and 4.2.1).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from hmsclient.genthrift.hive_metastore import ThriftHiveMetastore
from thrift.Thrift import TApplicationException, TType

from metasync.errors import ConfigurationError
from metasync.metastore.thrift_messages import call, struct

DEFAULT = "hive"
"""The catalog that a metastore without further ones has."""

_NAMES = struct("GetCatalogsResponse", names=(TType.LIST, (TType.STRING, "UTF8", False)))
_FIELDS = ("catName", "catalogName")
_DATABASE_ARGUMENTS = {"db_name", "dbname", "database_name"}
_OF_DATABASES = {"get_database": "name", "drop_database": "name", "get_databases": "pattern"}


class InCatalog:
    """The bindings' client, each call made in one catalog."""

    def __init__(self, client: Any, catalog: str) -> None:
        self._client = client
        self.catalog = catalog

    def get_all_databases(self) -> list[str]:
        """The call of that name knows the default catalog only."""
        return list(self._client.get_databases(f"@{self.catalog}#*"))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        arguments = _arguments(name)
        if not arguments:
            return found

        def in_catalog(*given: Any) -> Any:
            return found(*(self._placed(value, named) for value, named in zip(given, arguments, strict=False)))

        return in_catalog

    def _placed(self, value: Any, named: bool) -> Any:
        if isinstance(value, str):
            return f"@{self.catalog}#{value}" if named else value
        for one in value if isinstance(value, list) else [value]:
            self._place(one)
        return value

    def _place(self, sent: Any) -> None:
        own, below = _ways(sent.__class__)
        for field in own:
            if getattr(sent, field) is None:
                setattr(sent, field, self.catalog)
        for field in below:
            inner = getattr(sent, field) or ()
            for one in inner if isinstance(inner, list | tuple) else [inner]:
                self._place(one)


def check(client: Any, catalog: str) -> None:
    """Raises ConfigurationError where the metastore has no such catalog: reads in it would find it empty."""
    try:
        known = call(client, "get_catalogs", answer=_NAMES).names or []
    except TApplicationException as error:
        if error.type != TApplicationException.UNKNOWN_METHOD:
            raise
        raise ConfigurationError(f"metastore.catalog {catalog}: a metastore before 3.1 has no catalogs") from error
    if catalog not in known:
        raise ConfigurationError(f"metastore.catalog {catalog}: the metastore has {', '.join(sorted(known))}")


def catalog_of(client: Any) -> str:
    """The catalog that a client's calls are made in."""
    return client.catalog if isinstance(client, InCatalog) else DEFAULT


@cache
def _arguments(method: str) -> tuple[bool, ...]:
    """Of each argument of a call, whether it names a database; nothing where it is no call with arguments."""
    spec = getattr(getattr(ThriftHiveMetastore, f"{method}_args", None), "thrift_spec", None) or ()
    names = _DATABASE_ARGUMENTS | {_OF_DATABASES.get(method, "")}
    return tuple(field[2] in names for field in spec if field)


@cache
def _ways(kind: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields of a struct that hold a catalog's name, and those whose structs do."""
    own, below = [], []
    for field in getattr(kind, "thrift_spec", None) or ():
        if not field:
            continue
        inner = _struct_of(field)
        if field[2] in _FIELDS:
            own.append(field[2])
        elif inner is not None and inner is not kind and any(_ways(inner)):
            below.append(field[2])
    return tuple(own), tuple(below)


def _struct_of(field: Any) -> Any:
    """The class of the struct, or of the structs of the list, that a field holds."""
    if field[1] == TType.STRUCT:
        return field[3][0]
    if field[1] == TType.LIST and field[3][0] == TType.STRUCT:
        return field[3][1][0]
    return None
