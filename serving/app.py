"""The service as an application of Ray Serve, for ``artesian serve``, ``serve deploy`` and Ray's operator alike.

    applications:
      - name: artesian
        import_path: serving.app:build
        args: {generators: {adult: {versions: {1: s3://releases/adult}}}, host: 0.0.0.0, keys: /etc/artesian/keys.yaml}

The front listens at the settings' own host and port; Serve's proxies are not needed (``proxy_location: Disabled``). Front
and watcher are on the cluster's head, where they are to be found and the state's folder is theirs, wherever replicas go.
"""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from serving.catalogue import Catalogue
from serving.front import REPLICA, Front
from serving.replica import Replica
from serving.settings import Settings
from serving.shelf import opened
from serving.watcher import Watcher
from synth import release as releases
from synth.errors import UserError
from synth.marking import mark_of
from synth.provenance import keys

IN_LINE = 64  # calls that a replica takes in: the desk lets in fewer, and Serve's own limit must not be felt
BUSY = 1.0  # pieces at a replica, on average, above which there are to be more of them
LOOK_BACK_S, UP_S, DOWN_S = 15.0, 5.0, 120.0
ON_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}  # which Ray gives its head, and no other node


def build(args: dict[str, Any]) -> Application:
    """The application of these settings. UserError for what is wrong with them, ReleaseError for a release."""
    settings = Settings.check(args, where="the service's settings")
    # Whom it trusts the front decides: this may run on a node that knows no keys.
    if settings.watermark and keys.key() is None:
        raise UserError(
            f"watermark: {keys.key_file()}: there is no signing key on the node that starts the service, and a mark that is "
            "made with one of its own nobody would know again; mount your key for workers, too, as for the head (see "
            "cluster/deploy/service.yaml)"
        )
    shelves = [opened(version, any_signer=True) for version in Catalogue(dict(settings.generators)).versions()]
    marks = {s.manifest.id: mark_of(releases.load(s.version.place)) for s in shelves} if settings.watermark else {}
    least, most = settings.replicas
    replicas = serve.deployment(
        Replica, name=REPLICA, max_ongoing_requests=IN_LINE, max_surge_percent=100,
        ray_actor_options={"num_cpus": settings.replica_cpus, "num_gpus": settings.replica_gpus},
        health_check_period_s=5, graceful_shutdown_timeout_s=60,
        autoscaling_config=AutoscalingConfig(
            min_replicas=least, max_replicas=most, initial_replicas=least, target_ongoing_requests=BUSY,
            look_back_period_s=LOOK_BACK_S, upscale_delay_s=UP_S, downscale_delay_s=DOWN_S,
        ),
    ).bind({shelf.manifest.id: shelf.version.place for shelf in shelves}, marks)  # fmt: skip
    places = {str(shelf.version): (shelf.manifest.id, shelf.version.place) for shelf in shelves}
    watcher = serve.deployment(Watcher, max_ongoing_requests=1_000, ray_actor_options=ON_HEAD, num_replicas=1).bind(
        places, settings.state, any_signer=settings.any_signer
    )
    return serve.deployment(
        Front, max_ongoing_requests=1_000, ray_actor_options=ON_HEAD, num_replicas=1, health_check_period_s=5,
        graceful_shutdown_timeout_s=60,
    ).bind(settings.model_dump(mode="json"), replicas, watcher, marks)  # fmt: skip
