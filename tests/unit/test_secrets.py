"""A canary in every secret of every setting, through every error, line and answer; and input that is made to hurt."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from metasync.cli.logs import configure_logging
from metasync.errors import ConfigurationError, MetasyncError
from metasync.model.hms import TableName
from metasync.planning.patterns import compile_error, matches
from metasync.planning.rules import RuleSet, problems
from metasync.planning.table_merges import is_protected
from metasync.redaction import redact
from metasync.settings import load_settings, parse_settings
from metasync.settings.durations import format_duration, parse_duration
from metasync.store import open_database
from metasync.web.api import DURATION, LONGEST_DURATION
from tests.canary import CANARY, EVERYWHERE, RULES
from tests.hypothesis_examples import examples


def error_of(text: str, **environment: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        parse_settings(text, "metasync.yaml", environment)
    found: BaseException | None = raised.value
    words = []
    while found is not None:
        # Neither the message nor what would be printed below it.
        words.append(str(found))
        found = found.__cause__ if not found.__suppress_context__ or found.__cause__ else None
    return "\n".join(words)


@pytest.mark.parametrize(
    "text",
    [
        f"server: {{token: {CANARY}}}\nserver: {{token: {CANARY}}}\n{RULES}",
        f"server:\n  token: {CANARY}\n  token: {CANARY}-2\n{RULES}",
        f"server: {{token: *{CANARY}}}\n{RULES}",
        f"server: {{token: @{CANARY}}}\n{RULES}",
        f"server: {{token: \"{CANARY}\n{RULES}",
        f"server: {{token: [{CANARY}]}}\n{RULES}",
        f"server: {{tokn: {CANARY}}}\n{RULES}",
        f"server: {CANARY}\n{RULES}",
        f"store: {{url: 'postgresql://user:pa@{CANARY}@h/x'}}\n{RULES}",
        f"store: {{url: 'postgresql://user:pa/{CANARY}@h/x'}}\n{RULES}",
        f"lakefs: {{endpoint_url: 'http://user:{CANARY}@h'}}\n{RULES}",
        f"lakefs: {{endpoint_url: 'ftp://user:{CANARY}@h'}}\n{RULES}",
        f"metastore: {{uris: ['thrift://user:{CANARY}@h:1']}}\n{RULES}",
        f"server: {{token: 'with {CANARY} spaces'}}\n{RULES}",
        f"notifications: [{{name: A!, type: slack, url: 'http://h/{CANARY}'}}]\n{RULES}",
        f"notifications: [{{name: a, type: {CANARY}, url: 'http://h/{CANARY}'}}]\n{RULES}",
        f"\t{CANARY}: x\n{RULES}",
    ],
)  # fmt: skip
def test_no_error_of_the_configuration_shows_a_secret(text: str) -> None:
    assert CANARY not in error_of(text)


def test_lakectls_file_that_is_broken_shows_nothing(tmp_path: Path) -> None:
    for content in (f"credentials: {{secret_access_key: *{CANARY}", f"credentials:\n  a: {CANARY}\n  a: {CANARY}"):
        (tmp_path / ".lakectl.yaml").write_text(content)
        assert CANARY not in error_of(RULES, HOME=str(tmp_path))
    (tmp_path / ".lakectl.yaml").write_text("- a list\n")
    assert parse_settings(RULES, environment={"HOME": str(tmp_path)}).lakefs.secret_access_key is None


def test_no_log_line_and_no_error_shows_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    settings = parse_settings(EVERYWHERE + RULES)
    before = structlog.get_config()
    configure_logging(settings)
    try:
        try:
            raise ValueError(f"the driver says {CANARY}-store and http://a:b@c/?token=xyz123")
        except ValueError as error:
            structlog.get_logger().exception("failed", error=str(error), url=settings.store.url)
            assert CANARY not in str(MetasyncError(str(error)))
    finally:
        structlog.configure(**before)
    said = capsys.readouterr().err
    assert "failed" in said and CANARY not in said and "a:b@" not in said
    assert CANARY not in json.dumps(settings.model_dump(mode="json"))
    assert (
        redact("postgresql://u:p@h/x and http://h/?a=1&password=geheim")
        == "postgresql://***@h/x and http://h/?a=1&password=***"
    )


def test_the_store_is_not_named_with_its_password() -> None:
    with pytest.raises(MetasyncError) as raised:
        open_database(f"postgresql://user:{CANARY}@127.0.0.1:1/x")
    assert CANARY not in str(raised.value)


# Input that is made to hurt


def bomb() -> str:
    levels = "".join(f"  - &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10))
    return f"{RULES}notifications:\n  - &l0 [x, x, x, x, x, x, x, x, x, x]\n{levels}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(), "too large"),
        (f"notifications: &a [*a]\n{RULES}", "too large|too deep|dictionary"),
        ("# " + "x" * 30_000_000 + "\n" + RULES, "larger than"),
        (
            "rules:\n" + '  - {name: a, repository: l, branches: [b], tables: ["s.*"]}\n' * 20_000,
            "larger than|too large|1000",
        ),
        ("[" * 1_000, "not YAML"),
        (f"reconcile: {{schedule: '99 * * * *'}}\n{RULES}", "no schedule"),
        (f"reconcile: {{schedule: '* * 31 2 x'}}\n{RULES}", "no schedule"),
        (f"server: {{listen: '127.0.0.1:99999'}}\n{RULES}", "host:port"),
        (f"events: {{poll: {{interval: 0s}}}}\n{RULES}", "1s or more"),
        (f"lakefs: {{timeout: 0s}}\n{RULES}", "greater than 0"),
        (f"events: {{retention: 99999999999d}}\n{RULES}", "ten years"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_input_is_bounded_and_says_what_is_wrong(text: str, words: str) -> None:
    start = time.monotonic()
    with pytest.raises(ConfigurationError, match=words):
        parse_settings(text, "metasync.yaml", {})
    assert time.monotonic() - start < 60, "a deadline, no measurement"


def test_a_token_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"x" * 2_000_000)
    for name in ("token", "large", "missing"):
        config = tmp_path / "metasync.yaml"
        config.write_text(f"server: {{token_file: {tmp_path / name}}}\n{RULES}")
        with pytest.raises(ConfigurationError, match=name):
            load_settings(config, {})


def rule(**more: Any) -> Any:
    text = json.dumps([{"name": "dev", "repository": "lake", "branches": ["dev-*"], "tables": ["sales.*"], **more}])
    return parse_settings(f"rules: {text}").rules[0]


def test_a_pattern_is_matched_in_linear_time() -> None:
    assert not matches("a" * 100_000 + "!", ["re:(a+)+$"]) and matches("aaa", ["re:(a+)+$"])
    assert "linear time" in (compile_error("re:(?=a)b") or "")


def test_patterns_mean_the_same_in_every_list() -> None:
    protects = rule(protected=[r"re:..\D..\..*", "SALES.big"])
    for name, is_it in (("ab_cd.t", True), ("ab1cd.t", False), ("sales.big", True), ("hr.other", False)):
        assert is_protected(protects, TableName(*name.split("."))) is is_it, name
    assert problems([rule(protected=["re:("])]) and problems([rule(ignore_parameters=["re:("])])
    ignoring = RuleSet((rule(ignore_parameters=["re:owner_.*", "!owner_x"]),)).ignored_parameters("lake")
    from metasync.planning.definition import is_volatile

    assert is_volatile("owner_y", ignoring) and not is_volatile("owner_x", ignoring) and not is_volatile("y", ignoring)


def test_a_rule_is_shadowed_only_by_what_covers_it() -> None:
    one, other = rule(tables=[r"re:sales\.\D+"]), rule(name="b", tables=[r"re:sales\.\d+"])
    assert not problems([one, other]) and problems([one, rule(name="b", tables=[r"re:sales\.\D+"])])


@pytest.mark.parametrize("text", ["30s", "5m", "1h", "2d", "90s", "1500ms", "0s", "25s", "1h30m"])
def test_durations_are_printed_as_they_are_read(text: str) -> None:
    seconds = parse_duration(text)
    assert parse_duration(format_duration(seconds)) == seconds


PART = st.builds(
    "{}{}{}".format,
    st.text("0123456789", min_size=1, max_size=4),
    st.one_of(st.just(""), st.text("0123456789", min_size=1, max_size=8).map(".{}".format)),
    st.sampled_from(("ms", "s", "m", "h")),
)


@examples(1000)
@given(st.lists(PART, min_size=1, max_size=7).map("".join).filter(lambda text: len(text) <= LONGEST_DURATION))
def test_whatever_the_api_takes_for_a_duration_is_one(text: str) -> None:
    assert re.fullmatch(DURATION, text) and parse_duration(text) >= 0
