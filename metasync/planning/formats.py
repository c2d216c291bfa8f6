"""Tables that metasync does not mirror or merge, each with the reason that it says out loud."""

from __future__ import annotations

from collections.abc import Iterator

from metasync.model.hms import StorageDescriptor, Table, TableType
from metasync.planning.locations import (
    LOCATION_PARAMETERS,
    PLACEHOLDER_SUFFIX,
    is_relative,
    names_another_place,
    on_ref,
    place_of,
    relative,
)

_FILE_PROVIDERS = ("hive", "parquet", "orc", "avro", "csv", "json", "text", "xml", "binaryfile", "delta", "hudi")
"""Spark's providers whose data are files below the table's location. Of another one, `jdbc` above all, nobody knows
where an INSERT on a branch would write."""


def why_skipped(table: Table, *, mirror: bool = False) -> str | None:
    """Why a table is never mirrored or merged, or None where it may be.

    `mirror`: it is one already, made by a version that did not ask for the provider; it goes with its ref.
    """
    parameters = {key.lower(): value for key, value in table.parameters.items()}
    if table.table_type in (TableType.VIEW, TableType.MATERIALIZED_VIEW):
        return "a view: its text names the source's tables, and rewriting it is not supported"
    if parameters.get("table_type", "").upper() == "ICEBERG" or _iceberg_serde(table):
        return "an Iceberg table: its metadata holds absolute paths, so a mirror would write into the source branch"
    if parameters.get("transactional", "").lower() == "true":
        return "a transactional (ACID) table: its data is bound to the metastore's transaction state"
    if parameters.get("storage_handler"):
        return f"a table of the storage handler {parameters['storage_handler']}: its data is not on lakeFS"
    provider = parameters.get("spark.sql.sources.provider", "hive")
    if provider.lower() not in _FILE_PROVIDERS and not mirror:
        return f"a table of Spark's provider {provider}: its data is not known to be files on lakeFS"
    return None


def why_off_ref(table: Table, repository: str, ref: str) -> str | None:
    """Why a table does not lie on the ref (then it is not the ref's), or None where it does."""
    location = real_location(table)
    if not on_ref(location, repository, ref):
        return f"its location {location} is not on {repository}/{ref}"
    for key, value in _locations(table):
        if names_another_place(key, relative(value, repository, ref)):
            return f"its {key} {value} is not on {repository}/{ref}"
    return None


def why_header_off_ref(header: Table) -> str | None:
    """As `why_off_ref`, for a definition: why a mirror of it would not lie on its own ref."""
    location = real_location(header)
    if not is_relative(location):
        return f"its location {location} is not on the ref"
    for key, value in _locations(header):
        if names_another_place(key, value):
            return f"its {key} {value} is not on the ref"
    return None


def place_off_ref(sd: StorageDescriptor, table: Table | None, repository: str, ref: str) -> str | None:
    """A location of a table's or a partition's own storage that is not on the ref; `table` is given for a table's."""
    places = [real_location(table) if table is not None else sd.location]
    places += [where for _, where in sd.skewed_info.locations]
    return next((where for where in places if where and not on_ref(where, repository, ref)), None)


def real_location(table: Table) -> str | None:
    """The table's location; for Spark's external data source tables the SerDe's `path`."""
    location = table.sd.location
    if location and location.endswith(PLACEHOLDER_SUFFIX):
        return table.sd.serde_info.parameters.get("path", location)
    return location


def _locations(table: Table) -> Iterator[tuple[str, str]]:
    """What engines find data or its schema by, beside the table's location: (key, value).

    Only Spark reads `path`, and only of its own data sources.
    """
    provider = table.parameters.get("spark.sql.sources.provider", "hive").lower()
    for parameters in (table.parameters, table.sd.serde_info.parameters, table.sd.parameters):
        for key in LOCATION_PARAMETERS:
            if key in parameters and (key != "path" or provider != "hive"):
                yield key, parameters[key]


def names_other_places(header: Table) -> dict[str, str]:
    """Parameters of a definition whose values name another ref or bucket, by key; engines do not read them for data.

    Of a value no more is told than the ref or the bucket.
    """
    found: dict[str, str] = {}
    for parameters in (header.parameters, header.sd.serde_info.parameters, header.sd.parameters):
        found |= {key: place for key, value in parameters.items() if (place := place_of(value)) is not None}
    return found


def _iceberg_serde(table: Table) -> bool:
    return "iceberg" in (table.sd.serde_info.serialization_lib or "").lower()
