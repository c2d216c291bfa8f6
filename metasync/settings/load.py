"""From a YAML file to `Settings`: variables, secret files, defaults of rules, and errors with file and line."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from metasync.errors import ConfigurationError
from metasync.settings.models import Settings, check_token

M = TypeVar("M", bound=BaseModel)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load_settings(path: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in `path`. Raises ConfigurationError with one `file:line: message` for each thing wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error}); write one with: metasync config init") from error
    return parse_settings(text, str(path), os.environ if environment is None else environment)


def parse_settings(text: str, name: str = "<text>", environment: Mapping[str, str] | None = None) -> Settings:
    """As `load_settings`, from the text of a file called `name` in messages."""
    environment = {} if environment is None else environment
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{name}{line}: not YAML: {error.problem or error.context}") from error
    except YAMLError as error:
        raise ConfigurationError(f"{name}: not YAML: {error}") from error
    if not isinstance(tree, CommentedMap):
        raise ConfigurationError(f"{name}: needs keys such as lakefs, metastore and rules")
    values = _expand(tree, tree, (), name, environment)
    defaults = values.get("defaults")
    rules = values.get("rules")
    if isinstance(defaults, dict) and isinstance(rules, list):
        values["rules"] = [_inherit(defaults, rule) if isinstance(rule, dict) else rule for rule in rules]
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        lines = [_explain(problem, tree, name) for problem in error.errors()]
        raise ConfigurationError("\n".join(dict.fromkeys(lines))) from error
    return _with_secrets(settings, environment)


def _inherit(defaults: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    merged = {**defaults, **rule}
    if isinstance(defaults.get("target"), dict) and isinstance(rule.get("target"), dict):
        merged["target"] = {**defaults["target"], **rule["target"]}
    return merged


def _expand(node: Any, tree: Any, where: tuple[Any, ...], name: str, environment: Mapping[str, str]) -> Any:
    """Plain dicts and lists, with `${VAR}` and `${VAR:-default}` replaced in strings."""
    if isinstance(node, Mapping):
        return {key: _expand(item, tree, (*where, key), name, environment) for key, item in node.items()}
    if isinstance(node, list):
        return [_expand(item, tree, (*where, index), name, environment) for index, item in enumerate(node)]
    if not isinstance(node, str):
        return node

    def replace(match: re.Match[str]) -> str:
        variable, default = match.group(1), match.group(2)
        value = environment.get(variable) or default
        if value is None:
            raise ConfigurationError(
                f"{name}:{_line(tree, where)}: the variable {variable} is not set; "
                f"set it or write ${{{variable}:-default}}"
            )
        return value

    return _VARIABLE.sub(replace, str(node))


def _line(tree: Any, where: tuple[Any, ...]) -> int:
    """The line (from 1) of the deepest part of `where` that stands in the file."""
    node, line = tree, 1
    for part in where:
        try:
            if isinstance(node, CommentedMap) and part in node:
                line = node.lc.key(part)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
                line = node.lc.item(part)[0] + 1
            else:
                break
        except (KeyError, AttributeError, TypeError):
            break
        node = node[part]
    return int(line)


def _explain(problem: Any, tree: Any, name: str) -> str:
    where = tuple(problem["loc"])
    key = ".".join(str(part) for part in where)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        known = _keys_at(where[:-1])
        near = difflib.get_close_matches(str(where[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
        message = f"unknown key {where[-1]!r}; {hint}"
    return f"{name}:{_line(tree, where)}: {key + ': ' if key else ''}{message}"


def _keys_at(where: tuple[Any, ...]) -> list[str]:
    model: Any = Settings
    for part in where:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)


def _with_secrets(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """Fills secrets from `*_file`, then from lakectl's environment and file."""
    settings = _filled(settings)
    for name in ("token", "webhook_token"):
        try:
            check_token(getattr(settings.server, name))
        except ValueError as error:
            raise ConfigurationError(f"server.{name}_file: {error}") from error
    lakefs = settings.lakefs
    key, secret = lakefs.access_key_id, lakefs.secret_access_key
    if key is None and secret is None:
        key = environment.get("LAKECTL_CREDENTIALS_ACCESS_KEY_ID")
        value = environment.get("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY")
        if key is None:
            key, value = _lakectl_file(environment)
        secret = SecretStr(value) if value else None
    endpoint = lakefs.endpoint_url
    if "endpoint_url" not in lakefs.model_fields_set and "LAKECTL_SERVER_ENDPOINT_URL" in environment:
        endpoint = environment["LAKECTL_SERVER_ENDPOINT_URL"].rstrip("/").removesuffix("/api/v1")
    update = {"access_key_id": key, "secret_access_key": secret, "endpoint_url": endpoint}
    return settings.model_copy(update={"lakefs": lakefs.model_copy(update=update)})


def _filled(section: M) -> M:
    """The section with each secret that `*_file` names read, in all that is below it, too."""
    update: dict[str, Any] = {}
    for field in type(section).model_fields:
        value = getattr(section, field)
        if isinstance(value, BaseModel):
            update[field] = _filled(value)
        elif isinstance(value, list):
            update[field] = [_filled(item) if isinstance(item, BaseModel) else item for item in value]
        elif value is None and getattr(section, f"{field}_file", None) is not None:
            update[field] = _secret_file(getattr(section, f"{field}_file"))
    return section.model_copy(update=update)


def _secret_file(path: str) -> SecretStr:
    try:
        return SecretStr(Path(path).expanduser().read_text(encoding="utf-8").strip())
    except OSError as error:
        raise ConfigurationError(f"{path}: the secret cannot be read ({error.strerror})") from error


def _lakectl_file(environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    home = environment.get("HOME")
    path = Path(home) / ".lakectl.yaml" if home else None
    if path is None or not path.is_file():
        return None, None
    content = YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}
    credentials = content.get("credentials") or {}
    return credentials.get("access_key_id"), credentials.get("secret_access_key")
