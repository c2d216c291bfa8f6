"""`make docs`: the pages of docs/ that are written from the code, so that they cannot lag behind it.

`python -m tools.reference` writes them; the tests compare. Where a setting, command, metric or error lacks its words,
this raises LookupError.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import click
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from metasync import errors
from metasync.application import answers
from metasync.cli.main import main as command_line
from metasync.settings import Settings
from metasync.settings.models import Rule, RuleDefaults
from metasync.telemetry.metrics import Metrics
from metasync.web.app import CODES, status_of

DOCS = Path(__file__).parents[1] / "docs"
_WRITTEN = "Written from the code by `make docs`.\n"


def pages() -> dict[Path, str]:
    """Path -> text, for every page and schema."""
    found = {
        DOCS / "configuration.md": configuration(),
        DOCS / "commands.md": commands(),
        DOCS / "metrics.md": metrics(),
        DOCS / "errors.md": error_codes(),
    }
    for answer in answers.EVERY:
        kind = str(answer.model_fields["kind"].default)
        name = kind.removeprefix("metasync.").replace("/", ".")
        text = json.dumps(answer.model_json_schema(mode="serialization"), indent=2, sort_keys=True) + "\n"
        found[DOCS / "schemas" / f"{name}.json"] = text
    found[DOCS / "schemas" / "config.json"] = json.dumps(Settings.model_json_schema(), indent=2, sort_keys=True) + "\n"
    return found


# Configuration


def configuration() -> str:
    lines = [
        "# Configuration", "", _WRITTEN,
        "One YAML file, `metasync.yaml` or `--config FILE`. `metasync config init` writes a first one, `config check` says",
        "what is wrong with it line by line, `config show` prints it with all defaults, `config schema` its JSON Schema",
        "(also in [schemas/config.json](schemas/config.json)) for editors. Durations have a unit: `30s`, `5m`, `1h30m`.",
        "`${VARIABLE}` and `${VARIABLE:-default}` are replaced in every text; a key that ends in `_file` names a file that",
        "holds the secret. Examples: [the cookbook](cookbook.md).", "",
    ]  # fmt: skip
    lines += _section(Settings, "", "The whole file", set())
    return "\n".join(lines).rstrip() + "\n"


def _section(model: type[BaseModel], where: str, title: str, done: set[type[BaseModel]]) -> Iterator[str]:
    yield from (f"## {title}", "")
    if where:
        yield from (inspect.cleandoc(model.__doc__ or ""), "")
    yield from ("| key | type | default | |", "|---|---|---|---|")
    below: list[tuple[str, type[BaseModel], bool]] = []
    inherited = RuleDefaults.model_fields if model is Rule else {}
    for name, field in model.model_fields.items():
        if name in inherited:
            continue
        if not field.description:
            raise LookupError(f"{where}{name} has no description")
        inner, many = _inner(field.annotation)
        if inner is not None:
            below.append((f"{where}{name}", inner, many))
        default = _default(field)
        text = " ".join(field.description.split()).replace("|", "\\|")
        kind = "number" if field.annotation is float and not _is_duration(field) else _type(field.annotation)
        yield f"| `{name}` | {kind} | {default} | {text} |"
    if inherited:
        yield f"| … | | | and every key of [`defaults`](#defaults): {', '.join(f'`{key}`' for key in inherited)} |"
    yield ""
    for path, inner, many in below:
        if inner not in done:
            done.add(inner)
            yield from _section(inner, f"{path}.", f"`{path}`" + (" (a list)" if many else ""), done)


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation, False
    many = get_origin(annotation) is list
    for argument in get_args(annotation):
        found, _ = _inner(argument)
        if found is not None:
            return found, many
    return None, False


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_type(a) for a in arguments if a is not type(None))
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if arguments and origin is not None and all(isinstance(a, str) for a in arguments):
        return ", ".join(f"`{a}`" for a in arguments)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "section"
    names = {str: "text", int: "number", bool: "yes/no", float: "duration", SecretStr: "secret"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: Any) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "**needed**"
    if value is None or isinstance(value, BaseModel):
        return ""
    if isinstance(value, float) and _is_duration(field):
        return f"`{_duration(value)}`"
    return f"`{json.dumps(value)}`"


def _is_duration(field: Any) -> bool:
    return any(type(m).__name__ == "WithJsonSchema" for m in field.metadata)


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"


# Commands


def commands() -> str:
    lines = [
        "# Commands", "", _WRITTEN,
        "Data goes to stdout, all else to stderr. `--output json` prints a document whose first field says its kind and",
        "version; its JSON Schema is in [schemas/](schemas/). With `--server URL` (or `METASYNC_SERVER`) a command asks a",
        "running service, with the token from `METASYNC_TOKEN` or `--token-file`; else it works on the store itself.", "",
        "| exit code | |", "|---|---|", "| 0 | done, or nothing to do |", "| 1 | failed |",
        "| 2 | usage or configuration |", "| 3 | changes are pending (`plan --check`) |",
        "| 4 | done with conflicts, or in part |", "| 5 | refused by a safety limit |", "",
    ]  # fmt: skip
    context = click.Context(command_line, info_name="metasync")
    for name in command_line.list_commands(context):
        command = command_line.get_command(context, name)
        assert command is not None
        lines += list(_command(command, f"metasync {name}", context))
    return "\n".join(lines).rstrip() + "\n"


def _command(command: click.Command, path: str, parent: click.Context) -> Iterator[str]:
    if not command.help:
        raise LookupError(f"{path} has no help")
    context = click.Context(command, info_name=path, parent=None)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(inner, f"{path} {name}", context)
        return
    pieces = " ".join(command.collect_usage_pieces(context))
    yield from (f"## `{path}`", "", f"    {path} {pieces}".rstrip(), "", inspect.cleandoc(command.help), "")
    options = [p for p in command.params if isinstance(p, click.Option) and p.name != "output"]
    for option in options:
        flags = ", ".join(f"`{flag}`" for flag in [*option.opts, *option.secondary_opts])
        text = option.help or ""
        default = option.default
        shown = default not in (None, False, ()) and option.show_default and not option.is_flag
        yield f"- {flags}: {text or option.name}" + (f" (default: `{default}`)" if shown else "")
    if options:
        yield ""


# Metrics and errors


def metrics() -> str:
    lines = [
        "# Metrics", "", _WRITTEN,
        "`GET /metrics`, with the token. No label holds a ref or a table. Alert rules and a dashboard on these are in",
        "[deploy/prometheus](../deploy/prometheus) and [deploy/grafana](../deploy/grafana).", "",
        "| metric | kind | labels | |", "|---|---|---|---|",
    ]  # fmt: skip
    for family, labels in families():
        if not family.documentation:
            raise LookupError(f"{family.name} has no description")
        name = family.name + ("_total" if family.type == "counter" else "")
        words = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {family.type} | {words} | {family.documentation} |")
    return "\n".join(lines) + "\n"


def families() -> Iterator[tuple[Any, tuple[str, ...]]]:
    registry = Metrics().registry
    for collector in registry._collector_to_names:  # the library has no public way to the labels
        for family in collector.describe():
            yield family, tuple(getattr(collector, "_labelnames", ()))


def error_codes() -> str:
    lines = [
        "# Errors", "", _WRITTEN,
        "The JSON API answers errors as `metasync.error/v1` with one of these codes; on the command line the message goes",
        "to stderr and the class decides the exit code. Messages name the repository, ref and table, and say what to do.", "",
        "| code | exit | HTTP | |", "|---|---|---|---|",
    ]  # fmt: skip
    for kind in errors.every():
        if not kind.__doc__:
            raise LookupError(f"{kind.__name__} has no words")
        status = "400, 401, 403, 404, 413, 415" if kind is errors.BadEvent else str(status_of(kind("")))
        text = " ".join(inspect.cleandoc(kind.__doc__).split())
        lines.append(f"| `{errors.code_of(kind)}` | {kind.exit_code} | {status} | {text} |")
    lines += [
        "", "The web edge alone says these:", "", "| code | HTTP | |", "|---|---|---|",
        "| `unauthorized` | 401 | The token is missing or wrong. |",
        "| `forbidden` | 403 | The form is not one of this page, or too old. |",
        "| `no-such-address` | 404 | The API has no such path. |",
    ]  # fmt: skip
    assert set(CODES.values()) <= {line.split("`")[1] for line in lines if line.startswith("| `")}
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(DOCS.parent))
