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
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from metasync.errors import ConfigurationError
from metasync.redaction import remember, remember_url
from metasync.settings.models import Settings, check_token

M = TypeVar("M", bound=BaseModel)
_LARGEST = 1024 * 1024
"""Characters of a configuration, and bytes of a file that it names."""
_MOST_NODES, _DEEPEST = 100_000, 50
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load_settings(path: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in `path`. Raises ConfigurationError with one `file:line: message` for each thing wrong."""
    text = _read(path, "write one with: metasync config init")
    return parse_settings(text, str(path), os.environ if environment is None else environment)


def parse_settings(text: str, name: str = "<text>", environment: Mapping[str, str] | None = None) -> Settings:
    """As `load_settings`, from the text of a file called `name` in messages."""
    environment = {} if environment is None else environment
    tree = _tree(text, name)
    if not isinstance(tree, CommentedMap):
        raise ConfigurationError(f"{name}: needs keys such as lakefs, metastore and rules")
    values = _expand(tree, tree, (), name, environment, [])
    defaults = values.get("defaults")
    rules = values.get("rules")
    if isinstance(defaults, dict) and isinstance(rules, list):
        values["rules"] = [_inherit(defaults, rule) if isinstance(rule, dict) else rule for rule in rules]
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        lines = [_explain(problem, tree, name) for problem in error.errors()]
        # Not from the error, which holds what was written, secrets too.
        raise ConfigurationError("\n".join(dict.fromkeys(lines))) from None
    settings = _with_secrets(settings, environment)
    _remember(settings)
    return settings


def _read(path: Path, hint: str) -> str:
    """A small text file. Raises ConfigurationError that says nothing of its content."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ConfigurationError(f"{path}: is larger than {_LARGEST // 1024} KiB")
        return content.decode("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); {hint}") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is no text in UTF-8; {hint}") from None


def _tree(text: str, name: str) -> Any:
    """What a YAML text says. Raises ConfigurationError that names the line, and none of what stands there."""
    if len(text) > _LARGEST:
        raise ConfigurationError(f"{name}: is larger than {_LARGEST // 1024} KiB")
    try:
        return YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        key = re.search(r'found duplicate key "([^"]*)"', error.problem or "")
        what = f"the key {key.group(1)!r} stands twice" if key else "a key stands twice"
        raise ConfigurationError(f"{name}{_at(error)}: {what}") from None
    except MarkedYAMLError as error:
        # The library's own words quote the line, and a secret may stand in it.
        raise ConfigurationError(f"{name}{_at(error)}: not YAML: quotes, indentation or brackets are wrong") from None
    except (YAMLError, ValueError, RecursionError):
        raise ConfigurationError(f"{name}: not YAML") from None


def _at(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f":{mark.line + 1}" if mark else ""


def _remember(section: BaseModel) -> None:
    """Has every secret of the settings kept out of what is printed, logged and answered."""
    for field in type(section).model_fields:
        value = getattr(section, field)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, BaseModel):
                _remember(one)
            elif isinstance(one, SecretStr):
                remember(one.get_secret_value())
            elif isinstance(one, str) and "://" in one:
                remember_url(one)


def _inherit(defaults: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    merged = {**defaults, **rule}
    if isinstance(defaults.get("target"), dict) and isinstance(rule.get("target"), dict):
        merged["target"] = {**defaults["target"], **rule["target"]}
    return merged


def _expand(
    node: Any, tree: Any, where: tuple[Any, ...], name: str, environment: Mapping[str, str], nodes: list[int]
) -> Any:
    """Plain dicts and lists, with `${VAR}` and `${VAR:-default}` replaced in strings.

    Raises ConfigurationError where aliases make far more of it than was written, or a part of itself.
    """
    nodes.append(1)
    if len(nodes) > _MOST_NODES or len(where) > _DEEPEST:
        raise ConfigurationError(f"{name}: is too large once its aliases are filled in, or too deep")
    if isinstance(node, Mapping):
        return {key: _expand(item, tree, (*where, key), name, environment, nodes) for key, item in node.items()}
    if isinstance(node, list):
        return [_expand(item, tree, (*where, index), name, environment, nodes) for index, item in enumerate(node)]
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
    return SecretStr(_read(Path(path).expanduser(), "it should hold a secret").strip())


def _lakectl_file(environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    home = environment.get("HOME")
    path = Path(home) / ".lakectl.yaml" if home else None
    if path is None or not path.is_file():
        return None, None
    content = _tree(_read(path, "lakectl config writes it"), str(path)) or {}
    credentials = content.get("credentials") if isinstance(content, Mapping) else None
    if not isinstance(credentials, Mapping):
        return None, None
    key, secret = credentials.get("access_key_id"), credentials.get("secret_access_key")
    return str(key) if key else None, str(secret) if secret else None
