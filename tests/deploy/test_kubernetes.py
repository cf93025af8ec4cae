"""What fits together in deploy/kubernetes: names, labels, ports, volumes, times, rights."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import pytest

import wsrelay
from tests.deploy.manifests import (
    KUSTOMIZATION,
    MANIFESTS,
    Manifest,
    container_of,
    name_of,
    of_kind,
    pod_of,
    ports_of,
    pre_stop,
    relay_ini,
    selected,
    selects,
    the,
)
from tests.deploy.support import DEPLOY, KUBERNETES, documents
from wsrelay.config import Checks, parse
from wsrelay.config.model import RelayConfig
from wsrelay.observe import families

MONITORING = KUBERNETES / "monitoring"
DEPLOYMENTS = of_kind("Deployment")
RELAY = the("Deployment", "wsrelay")
UPSTREAMS = the("Deployment", "upstreams")

of_each = pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: f"{m['kind']}-{name_of(m)}")
of_each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=name_of)


def config(text: str = "") -> RelayConfig:
    given = (text or relay_ini()).encode()
    return parse(given, "relay.ini", Path("/etc/wsrelay"), {"POD_NAMESPACE": "chat"}, Checks())


def test_every_manifest_is_applied() -> None:
    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert there == set(KUSTOMIZATION["resources"])


@of_each
def test_a_manifest_is_what_kubernetes_takes(manifest: Manifest) -> None:
    """Kinds and versions that there are, no field that there is not."""
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@of_each
def test_the_namespace_is_left_to_who_applies_it(manifest: Manifest) -> None:
    assert "namespace" not in manifest["metadata"]


@of_each_deployment
def test_a_deployment_finds_its_own_pods_only(deployment: Manifest) -> None:
    labels = deployment["spec"]["selector"]["matchLabels"]
    assert [name_of(each) for each in DEPLOYMENTS if selects(labels, each)] == [name_of(deployment)]


@pytest.mark.parametrize("service", of_kind("Service"), ids=name_of)
def test_a_service_leads_to_ports_that_pods_have(service: Manifest) -> None:
    ports = ports_of(selected(service["spec"]["selector"]))
    assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports.keys()


@of_each_deployment
def test_probes_ask_ports_that_the_container_has(deployment: Manifest) -> None:
    container = container_of(deployment)
    probes = [each for name, each in container.items() if name.endswith("Probe")]
    assert probes
    asked = {(each.get("httpGet") or each["tcpSocket"])["port"] for each in probes}
    assert asked <= ports_of(deployment).keys()


def test_the_relay_is_ready_and_alive_by_the_paths_that_say_so() -> None:
    container = container_of(RELAY)
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    for name in ("livenessProbe", "startupProbe"):
        assert container[name]["httpGet"] == {"path": "/healthz", "port": "admin"}


def test_relay_ini_listens_where_the_manifest_says() -> None:
    ports = ports_of(RELAY)
    read = config()
    assert [each.endpoint for each in read.listeners] == [f"tcp:{ports['public']}"]
    assert read.admin is not None
    assert read.admin.listen == f"tcp:{ports['admin']}"


def test_relay_ini_passes_the_check(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    text = relay_ini().replace("/etc/wsrelay-admin/token", str(token))
    (tmp_path / "relay.ini").write_text(text)
    done = subprocess.run(
        [Path(sys.executable).with_name("wsrelay"), "check", "relay.ini"],
        cwd=tmp_path,
        env={"POD_NAMESPACE": "chat"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "relay.ini: ok\n", done


def test_what_relay_ini_asks_of_the_environment_is_there() -> None:
    needed = set(re.findall(r"\$\{(\w+)\}", relay_ini()))
    assert needed == {each["name"] for each in container_of(RELAY)["env"]}


@of_each_deployment
def test_what_is_mounted_is_there(deployment: Manifest) -> None:
    mounted = {each["name"] for each in container_of(deployment).get("volumeMounts", [])}
    assert mounted == {each["name"] for each in pod_of(deployment).get("volumes", [])}


def test_the_files_that_relay_ini_names_are_mounted() -> None:
    volumes = {each["name"]: each for each in pod_of(RELAY)["volumes"]}
    mounts = {
        each["mountPath"]: volumes[each["name"]] for each in container_of(RELAY)["volumeMounts"]
    }
    assert name_of(the("ConfigMap", mounts["/etc/wsrelay"]["configMap"]["name"]))
    admin = config().admin
    assert admin is not None
    assert admin.token_file is not None
    secret = mounts[str(admin.token_file.parent)]["secret"]["secretName"]
    head = (KUBERNETES / "kustomization.yaml").read_text("utf-8").splitlines()[0]
    assert f"create secret generic {secret} --from-literal={admin.token_file.name}=" in head
    (monitor,) = documents(MONITORING / "podmonitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"]["credentials"] == {
        "name": secret,
        "key": admin.token_file.name,
    }
    assert endpoint["port"] in ports_of(selected(monitor["spec"]["selector"]["matchLabels"]))


def test_policies_let_in_clients_and_prometheus_and_relays_to_upstreams() -> None:
    allowed = {}
    for policy in of_kind("NetworkPolicy"):
        pods = selected(policy["spec"]["podSelector"]["matchLabels"])
        for rule in policy["spec"]["ingress"]:
            for port in rule["ports"]:
                assert port["port"] in ports_of(pods)
                allowed[name_of(pods), port["port"]] = rule.get("from")
    assert allowed.keys() == {("wsrelay", "public"), ("wsrelay", "admin"), ("upstreams", "ws")}
    assert allowed["wsrelay", "public"] is None
    assert allowed["wsrelay", "admin"]
    ((peer,),) = [allowed["upstreams", "ws"]]
    assert selected(peer["podSelector"]["matchLabels"]) is RELAY


@of_each_deployment
def test_a_pod_has_no_rights(deployment: Manifest) -> None:
    pod, container = pod_of(deployment), container_of(deployment)
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
    (user,) = re.findall(r"(?m)^USER (\d+):\d+$", dockerfile)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == int(user) != 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_pod_is_given_the_time_that_its_goodbye_takes() -> None:
    read = config()
    (pause,) = re.findall(r"^sleep (\d+);", pre_stop(RELAY)[-1])
    closing = max(route.close_timeout for route in read.routes)
    grace = pod_of(RELAY)["terminationGracePeriodSeconds"]
    assert int(pause) + read.drain_timeout + closing + 10 <= grace


def test_an_upstreams_pod_waits_until_the_relays_have_drained_it() -> None:
    read = config()
    (every,) = re.findall(r"^ *discover = .* every=(\d+)s$", relay_ini(), re.MULTILINE)
    command, seconds = pre_stop(UPSTREAMS)
    assert command == "sleep"
    assert int(every) + read.drain_timeout < int(seconds)
    assert int(seconds) < pod_of(UPSTREAMS)["terminationGracePeriodSeconds"]
    assert read.pools[0].on_removed == "drain"


def test_the_autoscaler_alone_says_how_many_relays_there_are() -> None:
    (scaler,) = of_kind("HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    assert the(target["kind"], target["name"]) is RELAY
    assert target["apiVersion"] == RELAY["apiVersion"]
    assert "replicas" not in RELAY["spec"]
    (budget,) = of_kind("PodDisruptionBudget")
    assert selected(budget["spec"]["selector"]["matchLabels"]) is RELAY
    assert scaler["spec"]["minReplicas"] > budget["spec"]["maxUnavailable"]


def test_the_autoscaler_asks_for_what_the_adapter_makes_of_a_metric_of_the_relays() -> None:
    (scaler,) = of_kind("HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    (values,) = documents(MONITORING / "prometheus-adapter-values.yaml")
    (rule,) = values["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    series = rule["seriesQuery"].partition("{")[0]
    assert f'"{series}"' in Path(families.__file__).read_text("utf-8")


HEADLESS = the("Service", "upstreams")


def test_dns_discovery_asks_for_the_headless_service() -> None:
    assert HEADLESS["spec"]["clusterIP"] == "None"
    (port,) = HEADLESS["spec"]["ports"]
    (pool,) = config().pools
    assert pool.discover is not None
    assert pool.discover.name == "dns"
    assert pool.discover.options["name"] == f"{name_of(HEADLESS)}.chat.svc.cluster.local"
    # No proxy stands between, so it is the pods' port.
    assert int(pool.discover.options["port"]) == ports_of(UPSTREAMS)[port["targetPort"]]


def test_srv_discovery_asks_for_its_named_port() -> None:
    (line,) = re.findall(r"(?m)^; (discover = srv .*)$", relay_ini())
    (pool,) = config(re.sub(r"(?m)^discover = dns .*$", line, relay_ini())).pools
    (port,) = HEADLESS["spec"]["ports"]
    assert pool.discover is not None
    wanted = f"_{port['name']}._tcp.{name_of(HEADLESS)}.chat.svc.cluster.local"
    assert pool.discover.options["name"] == wanted


def test_the_image_is_that_of_this_version() -> None:
    (image,) = KUSTOMIZATION["images"]
    assert {container_of(each)["image"] for each in DEPLOYMENTS} == {image["name"]}
    assert image["newTag"] == wsrelay.__version__
    assert urlsplit(f"//{image['newName']}").hostname == "registry.example.com"
