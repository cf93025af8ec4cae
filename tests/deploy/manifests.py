"""The manifests of deploy/kubernetes, looked at as Kubernetes would."""

from __future__ import annotations

from typing import Any

from tests.deploy.support import KUBERNETES, documents

Manifest = dict[str, Any]

KUSTOMIZATION: Manifest = documents(KUBERNETES / "kustomization.yaml")[0]
MANIFESTS: list[Manifest] = [
    each for name in KUSTOMIZATION["resources"] for each in documents(KUBERNETES / name)
]


def name_of(manifest: Manifest) -> str:
    name: str = manifest["metadata"]["name"]
    return name


def of_kind(kind: str) -> list[Manifest]:
    return [each for each in MANIFESTS if each["kind"] == kind]


def the(kind: str, name: str) -> Manifest:
    (found,) = [each for each in of_kind(kind) if name_of(each) == name]
    return found


def selects(labels: dict[str, str], deployment: Manifest) -> bool:
    has = deployment["spec"]["template"]["metadata"]["labels"]
    return bool(labels) and labels.items() <= has.items()


def selected(labels: dict[str, str]) -> Manifest:
    """Return the one Deployment whose pods have these labels."""
    (found,) = [each for each in of_kind("Deployment") if selects(labels, each)]
    return found


def pod_of(deployment: Manifest) -> Manifest:
    pod: Manifest = deployment["spec"]["template"]["spec"]
    return pod


def container_of(deployment: Manifest) -> Manifest:
    (container,) = pod_of(deployment)["containers"]
    found: Manifest = container
    return found


def ports_of(deployment: Manifest) -> dict[str, int]:
    return {each["name"]: each["containerPort"] for each in container_of(deployment)["ports"]}


def relay_ini() -> str:
    text: str = the("ConfigMap", "wsrelay")["data"]["relay.ini"]
    return text


def pre_stop(deployment: Manifest) -> list[str]:
    command: list[str] = container_of(deployment)["lifecycle"]["preStop"]["exec"]["command"]
    return command
