"""The YAML: what works, and what every kind of mistake says."""

from pathlib import Path

import pytest

from metasync.errors import ConfigurationError
from metasync.planning.rules import problems
from metasync.settings import load_settings, parse_settings

SMALLEST = """\
lakefs: {endpoint_url: http://127.0.0.1:8000}
metastore: {uris: [thrift://127.0.0.1:9083]}
rules:
  - name: dev
    repository: lake
    branches: ["dev-*"]
    tables: ["sales.*"]
"""


def test_the_smallest_file_of_the_design_works() -> None:
    settings = parse_settings(SMALLEST)
    assert settings.rules[0].merge == "additive"
    assert settings.rules[0].target.database == "{database}__{ref}"
    assert settings.mode == "apply"
    assert settings.events.poll.interval == 60.0


@pytest.mark.parametrize("name", ["minimal.yaml", "full.yaml"])
def test_the_examples_in_config_load_and_have_no_problems(name: str) -> None:
    environment = {"METASYNC_TOKEN": "t", "LAKEFS_SECRET": "s"}
    settings = load_settings(Path(__file__).parents[2] / "config" / name, environment)
    assert problems(settings.rules) == []


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("branches:", "branchs:"), 6, "did you mean 'branches'"),
        (("  - name: dev", "  - name: dev\n    merge: all"), 5, "'ignore', 'plan', 'additive' or 'full'"),
        (("thrift://127.0.0.1:9083", "127.0.0.1:9083"), 2, "thrift://host:port"),
        (('tables: ["sales.*"]', 'tables: ["sales"]'), 4, "database.table"),
        (("http://127.0.0.1:8000", "127.0.0.1:8000"), 1, "http://"),
        (("rules:", "events: {poll: {interval: 60}}\nrules:"), 3, "needs a unit"),
        (("rules:", "server: {listen: '8765'}\nrules:"), 3, "host:port"),
        (("rules:", "reconcile: {schedule: hourly}\nrules:"), 3, "five cron fields"),
        (("rules:", "instance: Nope!\nrules:"), 3, "instance"),
        (("  - name: dev", "  - name: dev\n    target: {database: '{base}__{ref}'}"), 5, "placeholder"),
        (("http://127.0.0.1:8000", "'${NOWHERE}'"), 1, "NOWHERE is not set"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(change: tuple[str, str], line: int, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(SMALLEST.replace(*change), "metasync.yaml", {})
    assert f"metasync.yaml:{line}:" in str(caught.value)
    assert words in str(caught.value)


def test_what_is_not_yaml_or_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"x.yaml:2: not YAML"):
        parse_settings("a: [1\nb: }", "x.yaml", {})
    with pytest.raises(ConfigurationError, match="needs keys"):
        parse_settings("- 1", "x.yaml", {})
    with pytest.raises(ConfigurationError, match="metasync config init"):
        load_settings(tmp_path / "none.yaml", {})


def test_variables_defaults_and_secret_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    text = SMALLEST.replace(
        "http://127.0.0.1:8000",
        "'${URL:-http://lakefs:8000}', access_key_id: k, secret_access_key_file: " + str(secret),
    )
    settings = parse_settings(text, "x", {})
    assert settings.lakefs.endpoint_url == "http://lakefs:8000"
    assert settings.lakefs.secret_access_key is not None
    assert settings.lakefs.secret_access_key.get_secret_value() == "hush"
    assert "hush" not in repr(settings) and "hush" not in str(settings.model_dump(mode="json"))


def test_credentials_default_to_lakectl(tmp_path: Path) -> None:
    (tmp_path / ".lakectl.yaml").write_text("credentials: {access_key_id: from-file, secret_access_key: s}\n")
    assert parse_settings(SMALLEST, "x", {"HOME": str(tmp_path)}).lakefs.access_key_id == "from-file"
    variables = {"LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "from-env", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "s"}
    assert parse_settings(SMALLEST, "x", variables).lakefs.access_key_id == "from-env"


def test_rules_inherit_defaults_and_their_targets_key_by_key() -> None:
    text = SMALLEST + "defaults: {merge: full, target: {database: 'm_{database}_{ref}'}}\n"
    rule = parse_settings(text.replace("- name: dev", "- name: dev\n    target: {on_collision: hash}")).rules[0]
    assert (rule.merge, rule.target.database, rule.target.on_collision) == ("full", "m_{database}_{ref}", "hash")


def rules(*lines: str) -> list[str]:
    body = "".join(f"  - {{{line}}}\n" for line in lines)
    return problems(parse_settings(f"rules:\n{body}").rules)


def test_a_shadowed_rule_is_found() -> None:
    wide = 'name: wide, repository: "*", branches: ["dev-*"], tables: ["*.*"]'
    narrow = 'name: narrow, repository: lake, branches: ["dev-1*"], tables: ["sales.*"]'
    assert rules(narrow, wide) == []
    assert "shadowed by rule 'wide'" in rules(wide, narrow)[0]
    assert rules('name: a, repository: lake, branches: ["dev-?"], tables: ["s.*"]', narrow) == []


def test_a_target_without_ref_needs_one_literal_ref() -> None:
    shared = 'repository: lake, tables: ["s.*"], target: {database: "copy_{database}"}'
    assert "has no {ref}" in rules(f'name: a, branches: ["dev-*"], {shared}')[0]
    assert rules(f'name: a, branches: ["dev-1"], {shared}') == []
    assert "no regular expression" in rules('name: a, repository: lake, branches: ["re:("], tables: ["s.*"]')[0]


@pytest.mark.parametrize("token", ["", " ", "pässwort", "two words"])
def test_a_token_that_no_header_can_carry_is_refused(token: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="printable ASCII"):
        parse_settings(SMALLEST + f"server: {{token: '{token}'}}\n")
    file = tmp_path / "token"
    file.write_text(token)
    with pytest.raises(ConfigurationError, match=r"webhook_token_file: .*printable ASCII"):
        parse_settings(SMALLEST + f"server: {{webhook_token_file: '{file}'}}\n")


def test_no_password_of_the_store_is_shown() -> None:
    for url in ("postgresql://u:hush@h/d", "postgresql:///d?user=u&password=hush&sslmode=require"):
        shown = parse_settings(SMALLEST + f"store: {{url: '{url}'}}\n").model_dump_json()
        assert "hush" not in shown and "postgresql" in shown
