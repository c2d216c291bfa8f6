"""Locations on lakeFS: `scheme://repository/ref/path`, edited as raw strings and never URL-decoded.

Within a definition, a location on the ref itself stands as `scheme://repository/{ref}/path`, so that all branches off
one state share one definition. `dt=2024%3A01`, trailing and doubled slashes survive untouched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_LAKEFS = re.compile(r"(?P<scheme>s3a|s3n|s3|lakefs)://(?P<repository>[^/]+)/(?P<ref>[^/]+)(?P<rest>(?:/.*)?)", re.S)
_HERE = "{ref}"
_SCHEME = "://"
_REGISTRIES = ("http://", "https://")
PLACEHOLDER_SUFFIX = "-__PLACEHOLDER__"
"""Spark gives external data source tables a location that ends so; the real one is the SerDe's `path`."""

SCHEMA_LOCATIONS = ("avro.schema.url", "schema.location", "proto.descriptor.path", "hive.schema.url")
"""Parameters that name where a schema is read from; a registry over HTTP is no part of the lake."""
LOCATION_PARAMETERS = ("path", "storage.location.template", *SCHEMA_LOCATIONS)
"""Parameters of tables, SerDes and storage descriptors by which engines find data or its schema."""


def on_ref(location: str | None, repository: str, ref: str) -> bool:
    """Whether `location` lies on this ref of this repository."""
    match = _LAKEFS.fullmatch(location or "")
    return match is not None and match["repository"] == repository and match["ref"] == ref


def ref_in(location: str, repository: str) -> str | None:
    """The ref on which a location of the repository lies."""
    match = _LAKEFS.fullmatch(location)
    return match["ref"] if match and match["repository"] == repository else None


def relative(location: str, repository: str, ref: str) -> str:
    """`s3a://lake/dev-1/x` -> `s3a://lake/{ref}/x`; anything not on this ref stays as it is."""
    match = _LAKEFS.fullmatch(location)
    if match is None or match["repository"] != repository or match["ref"] != ref:
        return location
    return f"{match['scheme']}://{repository}/{_HERE}{match['rest']}"


def is_relative(location: str | None) -> bool:
    """Whether a definition's location is on its own ref."""
    match = _LAKEFS.fullmatch(location or "")
    return match is not None and match["ref"] == _HERE


def absolute(location: str, ref: str) -> str:
    """The inverse of `relative` on `ref`."""
    match = _LAKEFS.fullmatch(location)
    if match is None or match["ref"] != _HERE:
        return location
    return f"{match['scheme']}://{match['repository']}/{ref}{match['rest']}"


def path_on_ref(location: str) -> str | None:
    """The object path below the ref, without slashes at its ends: `s3a://lake/main/wh/t/` -> `wh/t`."""
    match = _LAKEFS.fullmatch(location)
    return match["rest"].strip("/") if match else None


def place_of(value: str) -> str | None:
    """What a value of a definition names that is a location off its ref: `s3a://lake/main/x` -> `lake/main`."""
    match = _LAKEFS.fullmatch(value)
    return f"{match['repository']}/{match['ref']}" if match is not None and match["ref"] != _HERE else None


def ref_root(location: str, ref: str) -> str:
    """The root of `ref` in the scheme and repository of `location`."""
    match = _LAKEFS.fullmatch(location)
    if match is None:
        raise ValueError(f"{location!r} is not on lakeFS")
    return f"{match['scheme']}://{match['repository']}/{ref}/"


def is_root(location: str | None) -> bool:
    """Whether a definition's location is the very root of its own ref, where nothing but a half-made thing lies."""
    return is_relative(location) and not path_on_ref(location or "")


def names_another_place(key: str, value: str | None) -> bool:
    """Whether a parameter of a definition has engines read or write elsewhere than on the definition's own ref."""
    if key not in LOCATION_PARAMETERS or value is None or is_relative(value):
        return False
    return key not in SCHEMA_LOCATIONS or not value.startswith(_REGISTRIES)


def relative_parameters(parameters: Mapping[str, str], repository: str, ref: str) -> dict[str, str]:
    """Parameters with every value that is a location on the ref made relative, whatever its key."""
    return {key: relative(value, repository, ref) if _SCHEME in value else value for key, value in parameters.items()}


def absolute_parameters(parameters: Mapping[str, str], ref: str) -> dict[str, str]:
    """The inverse of `relative_parameters`."""
    return {key: absolute(value, ref) if _SCHEME in value else value for key, value in parameters.items()}
