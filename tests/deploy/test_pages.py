"""What docs/deployment.rst and docs/ingress-nginx.rst show is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import container_of, pod_of, pre_stop, the
from tests.deploy.support import DEPLOY, KUBERNETES
from tests.support import PROJECT
from wsrelay.config import Checks, parse
from wsrelay.config.from_others import INGRESS

DEPLOYMENT = (PROJECT / "docs" / "deployment.rst").read_text("utf-8")
GUIDE = (PROJECT / "docs" / "ingress-nginx.rst").read_text("utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", GUIDE)
    return [re.sub(r"(?m)^    ", "", block) for block in found]


def test_the_guides_relay_ini_is_one() -> None:
    (text,) = blocks("ini")
    config = parse(text.encode(), "relay.ini", Path("/"), {}, Checks())
    (route,) = [each for each in config.routes if each.pool]
    assert route.host == "chat.example.com"


def test_the_guides_relay_ini_says_what_its_ingress_said() -> None:
    (text,) = blocks("ini")
    ingress = yaml.safe_load(blocks("yaml")[0])
    habits = {each.written.partition(":")[0]: each.lines for each in INGRESS.habits}
    for name in ingress["metadata"]["annotations"]:
        if name.startswith("nginx."):
            for line in habits[name.partition("/")[2]]:
                option = line.partition("] ")[2].partition(" =")[0]
                assert f"\n{option} = " in text, name
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert f"\nhost = {rule['host']}\n" in text
    assert f"\npath = {path['path']}\n" in text
    assert f"port={path['backend']['service']['port']['number']} " in text


def test_the_guides_table_of_annotations_is_what_the_check_answers() -> None:
    rows = re.findall(r"(?m)^``([\w-]+: [^`]+)`` +(?:``(\[[^`]+)``|(none|cannot))", GUIDE)
    known = {each.written: each for each in INGRESS.habits}
    assert len(rows) >= 15
    for written, line, other in rows:
        assert written in known, written
        assert "\n".join(known[written].lines) == line, written
        assert bool(other) == (not known[written].lines), written


@pytest.mark.parametrize("text", blocks("yaml"), ids=lambda text: text.split("\n")[0])
def test_what_the_guide_shows_of_manifests_is_yaml(text: str) -> None:
    assert yaml.safe_load(text)


def test_the_guides_second_container_has_the_volumes_of_the_first() -> None:
    (second,) = yaml.safe_load(blocks("yaml")[-1])
    relay = the("Deployment", "wsrelay")
    first = container_of(relay)
    mounts = {each["name"]: each["mountPath"] for each in first["volumeMounts"]}
    (tls,) = yaml.safe_load(blocks("yaml")[-2])["volumeMounts"]
    mounts[tls["name"]] = tls["mountPath"]
    assert {each["name"]: each["mountPath"] for each in second["volumeMounts"]} == mounts
    assert second["env"] == first["env"]
    assert second["securityContext"] == first["securityContext"]


def test_the_lines_of_the_unit_that_the_page_explains_are_in_it() -> None:
    unit = (DEPLOY / "systemd" / "wsrelay.service").read_text("utf-8")
    shown = re.findall(r"(?m)^``(\w+=\S*)``", DEPLOYMENT.partition("\nDocker\n")[0])
    assert len(shown) >= 5
    for line in shown:
        assert f"\n{line}" in unit, line


def test_the_page_names_every_manifest_and_the_order_of_a_pods_end() -> None:
    named = set(re.findall(r"(?m)^(\w+\.yaml|monitoring/)  ", DEPLOYMENT))
    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert named == {*there, "monitoring/"}
    relay = the("Deployment", "wsrelay")
    pause, _, drain = pre_stop(relay)[-1].partition("; exec ")
    assert DEPLOYMENT.index(f"``{pause}``") < DEPLOYMENT.index(f"``{drain}``")
    assert pod_of(relay)["terminationGracePeriodSeconds"] > 60
    (secret,) = re.findall(r"(?m)^    \$ (kubectl create secret .*)$", DEPLOYMENT)
    assert secret in (KUBERNETES / "kustomization.yaml").read_text("utf-8")
