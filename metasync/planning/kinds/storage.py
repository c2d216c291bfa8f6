"""Where and how data lies: location, formats, SerDe and its parameters, parameters of the storage descriptor."""

from __future__ import annotations

from dataclasses import replace

from metasync.model.hms import SerDeInfo, Table
from metasync.planning.file_layout import Layout, serde_parameter_decides_reading
from metasync.planning.kinds import avro_schema
from metasync.planning.kinds.kind import Items, Kind, present
from metasync.planning.locations import PLACEHOLDER_SUFFIX, is_relative, names_another_place
from metasync.planning.three_way import ItemChange, Tree


def _items(header: Table, _layout: Layout) -> Items:
    sd, serde = header.sd, header.sd.serde_info
    schema = avro_schema.keys_taken(serde.parameters)
    tree: Items = {
        "formats": present(input=sd.input_format, output=sd.output_format, compressed=sd.compressed or None),
        "serde": present(
            library=serde.serialization_lib,
            name=serde.name,
            description=serde.description,
            serializer=serde.serializer_class,
            deserializer=serde.deserializer_class,
            type=serde.serde_type,
        ),
        "serde_parameters": {key: value for key, value in serde.parameters.items() if key not in schema},
        "sd_parameters": dict(sd.parameters),
    }
    # Spark's placeholder names the writer's own directory; the real location is the SerDe's `path`.
    if sd.location is not None:
        tree["~location" if sd.location.endswith(PLACEHOLDER_SUFFIX) else "location"] = sd.location
    return tree


def _restore(header: Table, tree: Tree) -> Table:
    serde, formats = tree.get("serde", {}), tree.get("formats", {})
    return replace(
        header,
        sd=replace(
            header.sd,
            location=tree.get("location", tree.get("~location")),
            input_format=formats.get("input"),
            output_format=formats.get("output"),
            compressed=formats.get("compressed", False),
            parameters=dict(tree.get("sd_parameters", {})),
            serde_info=SerDeInfo(
                name=serde.get("name"),
                serialization_lib=serde.get("library"),
                parameters=dict(tree.get("serde_parameters", {})),
                description=serde.get("description"),
                serializer_class=serde.get("serializer"),
                deserializer_class=serde.get("deserializer"),
                serde_type=serde.get("type"),
            ),
        ),
    )


def _is_destructive(change: ItemChange, _layout: Layout) -> bool:
    match change.path:
        case ("location" | "formats" | "serde", *_):
            return change.path not in (("serde", "name"), ("serde", "description"))
        case ("serde_parameters" | "sd_parameters", key):
            return serde_parameter_decides_reading(key)
    return False


def _refusal(change: ItemChange, _layout: Layout) -> str | None:
    match change.path:
        case ("location",):
            return None if is_relative(change.after) else "location-off-ref"
        case ("serde_parameters" | "sd_parameters", key) if names_another_place(key, change.after):
            return "location-off-ref"
    return None


def off_ref(tree: Tree) -> bool:
    """Whether a table, by its real location, or any of its partitions lies elsewhere than on its own ref."""
    real = tree.get("location", tree.get("serde_parameters", {}).get("path"))
    return not is_relative(real) or any(
        not is_relative(partition.get("location")) for partition in tree.get("partitions", {}).values()
    )


KIND = Kind(
    names=("location", "formats", "serde", "serde_parameters", "sd_parameters"),
    items=_items,
    restore=_restore,
    is_destructive=_is_destructive,
    refusal=_refusal,
)
