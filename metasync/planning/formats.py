"""Tables that metasync does not mirror or merge, each with the reason that it says out loud."""

from __future__ import annotations

from metasync.model.hms import Table, TableType
from metasync.planning.locations import PLACEHOLDER_SUFFIX, is_relative, on_ref


def why_skipped(table: Table) -> str | None:
    """Why a table is never mirrored or merged, or None where it may be."""
    parameters = {key.lower(): value for key, value in table.parameters.items()}
    if table.table_type in (TableType.VIEW, TableType.MATERIALIZED_VIEW):
        return "a view: its text names the source's tables, and rewriting it is not supported"
    if parameters.get("table_type", "").upper() == "ICEBERG" or _iceberg_serde(table):
        return "an Iceberg table: its metadata holds absolute paths, so a mirror would write into the source branch"
    if parameters.get("transactional", "").lower() == "true":
        return "a transactional (ACID) table: its data is bound to the metastore's transaction state"
    if parameters.get("storage_handler"):
        return f"a table of the storage handler {parameters['storage_handler']}: its data is not on lakeFS"
    return None


def why_off_ref(table: Table, repository: str, ref: str) -> str | None:
    """Why a table does not lie on the ref (then it is not the ref's), or None where it does."""
    location = real_location(table)
    if not on_ref(location, repository, ref):
        return f"its location {location} is not on {repository}/{ref}"
    schema_url = {**table.parameters, **table.sd.serde_info.parameters}.get("avro.schema.url")
    if schema_url and not on_ref(schema_url, repository, ref):
        return f"its Avro schema {schema_url} is not on {repository}/{ref}"
    return None


def why_header_off_ref(header: Table) -> str | None:
    """As `why_off_ref`, for a definition: why a mirror of it would not lie on its own ref."""
    location = real_location(header)
    if not is_relative(location):
        return f"its location {location} is not on the ref"
    schema_url = {**header.parameters, **header.sd.serde_info.parameters}.get("avro.schema.url")
    if schema_url and not is_relative(schema_url):
        return f"its Avro schema {schema_url} is not on the ref"
    return None


def real_location(table: Table) -> str | None:
    """The table's location; for Spark's external data source tables the SerDe's `path`."""
    location = table.sd.location
    if location and location.endswith(PLACEHOLDER_SUFFIX):
        return table.sd.serde_info.parameters.get("path", location)
    return location


def _iceberg_serde(table: Table) -> bool:
    return "iceberg" in (table.sd.serde_info.serialization_lib or "").lower()
