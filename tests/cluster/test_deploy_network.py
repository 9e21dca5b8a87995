"""The network policies carry what Ray, KubeRay and storage need, and stop the rest: worked out as Kubernetes would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "cluster" / "deploy"
POLICIES: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "network-policy.yaml").read_text()))
CLUSTER, JOB = (yaml.safe_load((DEPLOY / f"{name}.yaml").read_text())["spec"] for name in ("raycluster", "train-job"))
TRAIN = JOB["rayClusterSpec"]


def labels(owner: dict[str, Any]) -> dict[str, str]:
    return dict(owner["template"]["metadata"]["labels"])


# Who is who on the network: what the templates say, and what KubeRay and Kubernetes add.
HERE, NOWHERE = {"kubernetes.io/metadata.name": "artesian"}, None
HEAD = (labels(TRAIN["headGroupSpec"]) | {"ray.io/node-type": "head"}, HERE)
WORKER = (labels(TRAIN["workerGroupSpecs"][0]) | {"ray.io/node-type": "worker"}, HERE)
CLEANER = (labels(CLUSTER["headGroupSpec"]) | {"ray.io/node-type": "redis-cleanup"}, HERE)
BYSTANDER = ({"app": "other"}, HERE)
OPERATOR = ({"app.kubernetes.io/name": "kuberay-operator"}, {"kubernetes.io/metadata.name": "kuberay-system"})
NEIGHBOUR = ({"app.kubernetes.io/name": "other"}, OPERATOR[1])
IMPOSTOR = (OPERATOR[0], {"kubernetes.io/metadata.name": "default"})
DNS = ({"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"})
Party = tuple[dict[str, str], dict[str, str]] | None


def selects(selector: dict[str, Any], worn: dict[str, str]) -> bool:
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return selector.get("matchLabels", {}).items() <= worn.items() and all(
        worn.get(expression["key"]) in expression["values"] for expression in expressions
    )


def lets(way: str, subject: Party, other: Party, port: dict[str, Any]) -> bool:
    """Whether Kubernetes lets ``other`` in to ``subject`` ("ingress"), or ``subject`` out to it ("egress")."""
    if subject is None or subject[1] != HERE:
        return True  # not this namespace's to say

    def matches(peer: dict[str, Any]) -> bool:
        if other is None:
            return False
        near = selects(peer["namespaceSelector"], other[1]) if "namespaceSelector" in peer else other[1] == HERE
        return near and selects(peer.get("podSelector", {}), other[0])

    specs = [policy["spec"] for policy in POLICIES if selects(policy["spec"]["podSelector"], subject[0])]
    specs = [spec for spec in specs if way.title() in spec["policyTypes"]]
    peers = {"ingress": "from", "egress": "to"}[way]
    return not specs or any(
        (peers not in rule or any(map(matches, rule[peers]))) and ("ports" not in rule or port in rule["ports"])
        for spec in specs
        for rule in spec.get(way, [])
    )


def reaches(source: Party, target: Party, port: int, protocol: str = "TCP") -> bool:
    meant = {"protocol": protocol, "port": port}
    return lets("egress", source, target, meant) and lets("ingress", target, source, meant)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (WORKER, HEAD, 6379), (HEAD, WORKER, 8076), (WORKER, WORKER, 45678), (HEAD, HEAD, 8265),
        (OPERATOR, HEAD, 8265), (HEAD, NOWHERE, 6443), (HEAD, NOWHERE, 6379), (CLEANER, NOWHERE, 6379),
        (HEAD, NOWHERE, 443), (WORKER, NOWHERE, 443),
    ],
)  # fmt: skip
def test_the_network_carries_what_must_pass(source: Party, target: Party, port: int) -> None:
    assert reaches(source, target, port)


@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
@pytest.mark.parametrize("source", [HEAD, WORKER, CLEANER])
def test_names_are_found(source: Party, protocol: str) -> None:
    assert reaches(source, DNS, 53, protocol)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (NOWHERE, HEAD, 8265), (NOWHERE, HEAD, 6379), (BYSTANDER, HEAD, 8265), (BYSTANDER, HEAD, 6379),
        (IMPOSTOR, HEAD, 8265), (NEIGHBOUR, HEAD, 8265), (OPERATOR, HEAD, 6379), (OPERATOR, WORKER, 8265),
        (NOWHERE, WORKER, 8076), (NOWHERE, BYSTANDER, 80), (WORKER, NOWHERE, 80), (WORKER, NOWHERE, 6443),
        (BYSTANDER, NOWHERE, 6379), (WORKER, OPERATOR, 8080), (HEAD, NOWHERE, 22),
    ],
)  # fmt: skip
def test_the_network_stops_the_rest(source: Party, target: Party, port: int) -> None:
    assert not reaches(source, target, port)


def test_every_selector_selects_somebody() -> None:
    parties = [HEAD, WORKER, CLEANER]
    for policy in POLICIES:
        assert any(selects(policy["spec"]["podSelector"], party[0]) for party in parties), policy["metadata"]["name"]
