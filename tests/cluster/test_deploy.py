"""The files for Kubernetes say what KubeRay, Ray and ``artesian`` understand, as far as no cluster is needed to tell."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "cluster" / "deploy"
DOCUMENTS: dict[str, list[dict[str, Any]]] = {
    path.name: list(yaml.safe_load_all(path.read_text())) for path in sorted(DEPLOY.glob("*.yaml"))
}
[CLUSTER], [TRAIN], [SAMPLE] = (DOCUMENTS[f"{name}.yaml"] for name in ("raycluster", "train-job", "sample-job"))
SERVICE, DOOR, CALLERS = DOCUMENTS["service.yaml"]
SERVE = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
SPECS = {
    "raycluster": CLUSTER["spec"],
    "service": SERVICE["spec"]["rayClusterConfig"],
    **{
        job["metadata"]["name"].removeprefix("artesian-") + "-job": job["spec"]["rayClusterSpec"]
        for job in (TRAIN, SAMPLE)
    },
}
RAY = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]  # type: ignore[index]
BASE = yaml.safe_load((ROOT / "ray-cluster.yaml").read_text())["docker"]["image"]

# The keys that ray.io/v1 (KubeRay 1.5.1, and up to 1.7) and Kubernetes have, as far as they are of use here. A key that
# is not known is dropped without a word by KubeRay's definitions; after ":" stands what a key holds.
KNOWN = {
    "RayCluster": "apiVersion kind metadata:Metadata spec:RayClusterSpec",
    "RayClusterSpec": "rayVersion authOptions:AuthOptions enableInTreeAutoscaling autoscalerOptions:Autoscaler suspend"
    " gcsFaultToleranceOptions:GcsFaultTolerance headGroupSpec:Head workerGroupSpecs:Workers headServiceAnnotations",
    "AuthOptions": "mode",
    "Autoscaler": "version idleTimeoutSeconds upscalingMode resources:Resources securityContext:SecurityContext image"
    " imagePullPolicy env envFrom volumeMounts:Mount",
    "GcsFaultTolerance": "redisAddress redisUsername:Redis redisPassword:Redis externalStorageNamespace",
    "Redis": "value valueFrom:ValueFrom",
    "ValueFrom": "secretKeyRef:SecretKey",
    "SecretKey": "name key",
    "Head": "serviceType enableIngress headService rayStartParams template:PodTemplate",
    "Workers": "groupName replicas minReplicas maxReplicas idleTimeoutSeconds numOfHosts rayStartParams"
    " template:PodTemplate",
    "RayJob": "apiVersion kind metadata:Metadata spec:RayJobSpec",
    "RayJobSpec": "entrypoint backoffLimit activeDeadlineSeconds submissionMode shutdownAfterJobFinishes metadata"
    " ttlSecondsAfterFinished rayClusterSpec:RayClusterSpec clusterSelector submitterPodTemplate:PodTemplate suspend"
    " submitterConfig runtimeEnvYAML jobId entrypointNumCpus entrypointNumGpus entrypointResources",
    "RayService": "apiVersion kind metadata:Metadata spec:RayServiceSpec",
    "RayServiceSpec": "serveConfigV2 rayClusterConfig:RayClusterSpec upgradeStrategy:Upgrade serveService"
    " excludeHeadPodFromServeSvc rayClusterDeletionDelaySeconds suspend",
    "Upgrade": "type",
    "Service": "apiVersion kind metadata:Metadata spec:ServiceSpec",
    "ServiceSpec": "type selector ports:ServicePort",
    "ServicePort": "name port targetPort protocol",
    "NetworkPolicy": "apiVersion kind metadata:Metadata spec:PolicySpec",
    "PolicySpec": "podSelector:Selector policyTypes ingress:Ingress egress:Egress",
    "Ingress": "from:Peer ports:Port",
    "Egress": "to:Peer ports:Port",
    "Peer": "podSelector:Selector namespaceSelector:Selector ipBlock",
    "Port": "protocol port endPort",
    "Selector": "matchLabels matchExpressions:Expression",
    "Expression": "key operator values",
    "Metadata": "name namespace labels annotations",
    "PodTemplate": "metadata:Metadata spec:Pod",
    "Pod": "restartPolicy serviceAccountName automountServiceAccountToken securityContext:PodSecurity tolerations"
    " initContainers:Container containers:Container volumes:Volume nodeSelector terminationGracePeriodSeconds",
    "PodSecurity": "runAsNonRoot runAsUser runAsGroup fsGroup seccompProfile",
    "Container": "name image command args env:Env ports:ContainerPort securityContext:SecurityContext"
    " resources:Resources volumeMounts:Mount livenessProbe readinessProbe",
    "Env": "name value valueFrom:ValueFrom",
    "ContainerPort": "name containerPort",
    "SecurityContext": "allowPrivilegeEscalation capabilities privileged readOnlyRootFilesystem",
    "Resources": "requests limits",
    "Mount": "name mountPath readOnly",
    "Volume": "name secret emptyDir persistentVolumeClaim:Claim",
    "Claim": "claimName readOnly",
}
API = {
    "RayCluster": "ray.io/v1", "RayJob": "ray.io/v1", "RayService": "ray.io/v1", "Service": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
}  # fmt: skip


def unknown(found: Any, kind: str, where: str = "") -> Iterator[str]:
    """The places in ``found`` with keys that ``kind`` does not have."""
    if isinstance(found, list):
        for number, one in enumerate(found):
            yield from unknown(one, kind, f"{where}[{number}]")
        return
    assert isinstance(found, dict), f"{where}: expected a {kind}, found {found!r}"
    keys: dict[str, str] = {key: inner for key, _, inner in (word.partition(":") for word in KNOWN[kind].split())}
    for key, value in found.items():
        if key not in keys:
            yield f"{where}.{key}"
        elif keys[key]:
            yield from unknown(value, keys[key], f"{where}.{key}")


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


PODS: dict[str, dict[str, Any]] = {
    f"{name} {g.get('groupName', 'head')}": g["template"] for name, spec in SPECS.items() for g in groups(spec)
}
CONTAINERS = [
    pytest.param(container, id=f"{pod} {container['name']}")
    for pod, template in PODS.items()
    for container in [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]
]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_key_would_be_dropped_silently(name: str) -> None:
    for document in DOCUMENTS[name]:
        assert document["apiVersion"] == API[document["kind"]]
        assert not list(unknown(document, document["kind"], name))


def test_a_key_that_nobody_knows_is_found() -> None:
    document = yaml.safe_load(yaml.safe_dump(CLUSTER))
    document["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["ressources"] = {}
    [place] = unknown(document, "RayCluster")
    assert place == ".spec.workerGroupSpecs[0].template.spec.containers[0].ressources"


def test_versions_are_those_that_were_tested() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"rayproject/ray:{RAY}-py311-gpu" == BASE
    assert re.findall(r"^FROM (\S+)$", dockerfile, re.MULTILINE) == [BASE]
    image = f"REGISTRY/artesian:{version}-ray{BASE.removeprefix('rayproject/ray:')}"
    assert {param.values[0]["image"] for param in CONTAINERS} == {image}  # type: ignore[index]
    assert f"-t ${image} " in (DEPLOY / "README.md").read_text()
    assert all(spec["rayVersion"] == RAY for spec in SPECS.values())


def test_the_image_installs_what_was_tested_and_runs_as_nobody_special() -> None:
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) == 2 and "-c constraints.txt ." in installs[0] and "--no-deps" in installs[1]
    assert not any(word in line for line in lines for word in ("[dev]", "apt", "gcc", "sudo"))
    user = next(line.split()[1] for line in reversed(lines) if line.startswith("USER"))
    inside = PODS["sample-job gpu"]["spec"]["securityContext"]
    assert user == f"{inside['runAsUser']}:{inside['runAsGroup']}"
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {"artesian.py", "cluster", "synth", "pyproject.toml", "constraints.txt", "README.md"} & set(ignored)


@pytest.mark.parametrize("name", SPECS)
def test_ray_start_knows_the_options(name: str) -> None:
    from ray.scripts.scripts import start

    known = {option.removeprefix("--") for parameter in start.params for option in parameter.opts}
    for group in groups(SPECS[name]):
        assert set(group["rayStartParams"]) <= known
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # a number is refused


def test_ray_scales_as_meant() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr as derive

    read = derive(CLUSTER | {"metadata": CLUSTER["metadata"] | {"namespace": "artesian"}})
    head, gpu = read["available_node_types"]["headgroup"], read["available_node_types"]["gpu"]
    assert (head["resources"]["CPU"], head["resources"]["GPU"]) == (0, 0)
    assert (gpu["resources"]["CPU"], gpu["resources"]["GPU"]) == (7, 1)
    assert (gpu["min_workers"], gpu["max_workers"], read["idle_timeout_minutes"]) == (0, 8, 10)
    assert CLUSTER["spec"]["enableInTreeAutoscaling"] is True
    assert CLUSTER["spec"]["autoscalerOptions"]["version"] == "v2"


@pytest.mark.parametrize("name", SPECS)
def test_ports_are_kept_from_others(name: str) -> None:
    spec = SPECS[name]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP" and "enableIngress" not in spec["headGroupSpec"]
    ports = spec["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    listening = {"gcs-server": 6379, "dashboard": 8265} | ({"front": 8000} if name == "service" else {})
    assert {port["name"]: port["containerPort"] for port in ports} == listening


def test_what_the_clusters_share_is_the_same() -> None:
    standing, own = groups(SPECS["raycluster"]), groups(yaml.safe_load(yaml.safe_dump(SPECS["train-job"])))
    # Its head has no autoscaler beside it, and so no business with Kubernetes.
    assert own[0]["template"]["spec"].pop("automountServiceAccountToken") is False
    assert [group["template"] for group in own] == [group["template"] for group in standing]
    assert own[0] == standing[0]
    drawing = groups(SPECS["sample-job"])
    pod = own[0]["template"]["spec"]
    del pod["initContainers"], pod["volumes"], pod["containers"][0]["env"], pod["containers"][0]["volumeMounts"]
    pod["automountServiceAccountToken"] = False
    assert drawing[0] == own[0]  # which signs nothing, and so has no key
    assert drawing[1]["template"] == own[1]["template"]


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command and the parameters that ``artesian`` takes ``words`` for."""
    import typer.main

    import artesian

    program, *arguments = words
    assert program == "artesian"
    group: Any = typer.main.get_command(artesian.app)
    with group.make_context("artesian", list(arguments)) as context:
        name, command, rest = group.resolve_command(context, arguments)
        return name, command.make_context(name, rest, parent=context).params


def test_the_training_command_is_one_and_finds_its_workers() -> None:
    from synth.recipe import seconds

    spec = TRAIN["spec"]
    name, given = parsed(shlex.split(spec["entrypoint"]))
    [gpu] = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert name == "train" and given["address"] == "auto"
    assert gpu["replicas"] == gpu["minReplicas"] == gpu["maxReplicas"] == int(given["workers"])
    assert given["resume"] is given["overwrite"] is False  # to go on, or to destroy, is for a person to decide
    assert spec["backoffLimit"] == 0  # which a retry would need one of
    assert spec["activeDeadlineSeconds"] > 1.5 * seconds(given["budget"])
    assert spec["submissionMode"] == "HTTPMode" and spec["shutdownAfterJobFinishes"] is True


def test_the_sampling_command_draws_parts_on_the_cluster_and_may_be_repeated() -> None:
    spec = SAMPLE["spec"]
    name, given = parsed(shlex.split(spec["entrypoint"]))
    assert name == "sample" and given["address"] == "auto" and given["rows"] == 1_000_000_000
    assert given["out"].endswith("/") and given["overwrite"] is False
    assert spec["backoffLimit"] > 0


def test_the_service_is_what_serve_and_artesian_understand(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve.schema import ServeDeploySchema

    from serving import app
    from serving.settings import Settings
    from synth.provenance import keys

    [application] = ServeDeploySchema.model_validate(SERVE).applications
    module, _, name = application.import_path.partition(":")
    assert module == app.__name__ and hasattr(app, name)
    settings = Settings.check(application.args, where="service.yaml")
    head, gpu = groups(SPECS["service"])
    pod = head["template"]["spec"]
    [copier], [ray] = pod["initContainers"], pod["containers"]
    inside = {m["mountPath"] for m in ray["volumeMounts"]}
    files = settings.keys, settings.certificate, settings.certificate_key, f"{settings.state}/desk.json"
    assert {str(Path(str(file)).parent) for file in files} == inside
    monkeypatch.setenv(ray["env"][0]["name"], ray["env"][0]["value"])
    told = {one["name"]: one["value"] for one in ray["env"]}
    assert Path(told["ARTESIAN_STATE_DIR"]).parent == Path(settings.state)  # what jobs log outlives the pod
    copied = {f"{copier['command'][-1]}/{Path(source).name}" for source in copier["command"][3:-1]}
    assert copied == {settings.keys, str(keys.key_file())} and copier["command"][:3] == ["install", "-m", "600"]
    assert (gpu["minReplicas"], gpu["maxReplicas"]) == settings.replicas and settings.replica_gpus == 1


def test_callers_reach_the_front_and_nothing_else() -> None:
    pod = SPECS["service"]["headGroupSpec"]["template"]["metadata"]["labels"]
    assert DOOR["spec"]["selector"].items() <= (pod | {"ray.io/node-type": "head"}).items()  # which KubeRay sets
    assert CALLERS["spec"]["podSelector"]["matchLabels"].items() <= pod.items()
    [port], [rule] = DOOR["spec"]["ports"], CALLERS["spec"]["ingress"]
    assert port["targetPort"] == rule["ports"][0]["port"] == SERVE["applications"][0]["args"]["port"]
    assert all(set(peer) == {"namespaceSelector", "podSelector"} for peer in rule["from"])


def test_a_flag_that_does_not_exist_is_refused() -> None:
    for flag, message in {"--wrokers=4": "--wrokers", "--seed=four": "valid integer"}.items():
        with pytest.raises(Exception, match=message):
            parsed(["artesian", "train", "a.csv", "--out", "b", flag])


@pytest.mark.parametrize(
    "container", [*CONTAINERS, pytest.param(CLUSTER["spec"]["autoscalerOptions"], id="autoscaler")]
)
def test_containers_are_bounded_and_have_no_powers(container: dict[str, Any]) -> None:
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert requests.keys() >= {"cpu", "memory"} and requests == limits  # guaranteed: the last to be evicted


@pytest.mark.parametrize("pod", PODS)
def test_pods_are_nobody_special(pod: str) -> None:
    spec = PODS[pod]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] == 1000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    # The standing head asks Kubernetes for workers; nobody else has anything to say to it.
    assert spec.get("automountServiceAccountToken", True) is (pod in ("raycluster head", "service head"))
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    mounted = [
        m["name"] for c in [*spec.get("initContainers", []), *spec["containers"]] for m in c.get("volumeMounts", [])
    ]
    assert set(mounted) == volumes


@pytest.mark.parametrize("name", ["raycluster", "train-job"])
def test_the_signing_key_is_where_it_is_looked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from synth.provenance import keys

    pod = SPECS[name]["headGroupSpec"]["template"]["spec"]
    [copier], [ray] = pod["initContainers"], pod["containers"]
    for variable in ray["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    assert copier["command"][-1] == str(keys.key_file())
    assert copier["command"][:3] == ["install", "-m", "600"]
    assert {m["mountPath"] for m in ray["volumeMounts"]} == {str(keys.key_file().parent)}  # and not the Secret itself


def test_secrets_are_named_and_nowhere_told() -> None:
    def entries(found: Any) -> Iterator[dict[str, Any]]:
        for value in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
            yield from entries(value)
        if isinstance(found, dict):
            yield found

    secret = re.compile(r"pass|token|secret|key", re.IGNORECASE)
    for documents in DOCUMENTS.values():
        for entry in entries(documents):
            assert entry.get("kind") != "Secret"
            assert not (secret.search(str(entry.get("name"))) and "value" in entry), entry
            for key, value in entry.items():
                assert not (key in ("redisPassword", "redisUsername") and "value" in value), key
    assert not re.search(
        r"AKIA|BEGIN [A-Z ]*PRIVATE|://[^/\s]*:[^/\s]*@", "".join(p.read_text() for p in DEPLOY.iterdir())
    )
