"""Enough of Compute Engine's REST API for google-cloud-compute, in front of a fake cloud.

Modelled: insert (idempotent by request id, 409 for a taken name), operations that end badly, aggregated lists and their lag,
delete, disks that are left, preemption, ``max_run_duration`` with DELETE. Guessed: the codes of refusals, as the documentation
names them. Not modelled: networks, quotas by metric.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from cloudbandit.testing.fakecloud.cloud import DISK, MACHINE, FakeCloud, Fault, Resource, Trouble
from cloudbandit.testing.fakecloud.server import Reply, Request

ZONES = ("us-central1-a", "us-central1-b", "us-east4-a")
OPERATION_ERRORS = {
    Fault.REFUSED: "ZONE_RESOURCE_POOL_EXHAUSTED",
    Fault.LEFT: "ZONE_RESOURCE_POOL_EXHAUSTED",
    Fault.QUOTA: "QUOTA_EXCEEDED",
    Fault.PARTIAL: "RESOURCE_OPERATION_FAILED",
}
HTTP_ERRORS = {
    Fault.THROTTLED: (429, "rateLimitExceeded"),
    Fault.FORBIDDEN: (403, "forbidden"),
    Fault.BROKEN: (503, "backendError"),
}
_STATES = {"up": "RUNNING", "going": "STOPPING"}


class GCE:
    """Speaks for a cloud.

    Args:
        prices: USD per hour by machine type: on demand, and spot. Other types are not sold.
    """

    def __init__(self, cloud: FakeCloud, prices: Mapping[str, tuple[float, float]]) -> None:
        self.cloud, self.prices = cloud, prices
        self.known = True
        self.firewalls: set[str] = set()
        self._operations: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)

    def begin(self, cloud: FakeCloud) -> None:
        """Speak for another cloud from now on."""
        self.cloud = cloud
        self._operations.clear()
        self._asked.clear()

    def reply(self, request: Request) -> Reply:
        """See `cloudbandit.testing.fakecloud.server.Front`."""
        if not (self.known and request.headers.get("authorization", "").startswith("Bearer ")):
            return _error(401, "authError", "Invalid Credentials")
        path = re.sub(r"^/compute/v1/projects/[^/]+/", "", request.path)
        try:
            return self._routed(request, path)
        except Trouble as trouble:
            if trouble.lost:
                raise
            return _error(*HTTP_ERRORS.get(trouble.fault, (500, "internal")), str(trouble))

    def _routed(self, request: Request, path: str) -> Reply:
        match request.method, path.split("/"):
            case "GET", ["zones"]:
                zones = [{"name": zone, "status": "UP"} for zone in ZONES]
                return _json({"kind": "compute#zoneList", "items": zones})
            case "GET", ["global", "images", "family", family]:
                return _json({"name": family, "selfLink": f"{request.base}/images/{family}-v1"})
            case "GET", ["global", "firewalls", name]:
                return _json({"name": name}) if name in self.firewalls else _error(404, "notFound", name)
            case "POST", ["global", "firewalls"]:
                self.firewalls.add(json.loads(request.body)["name"])
                return self._operation("insert", "")
            case "POST", ["zones", zone, "instances"]:
                return self._insert(zone, json.loads(request.body), request.query.get("requestId", ""))
            case "GET", ["zones", zone, "instances", name]:
                shown = [(r, s) for r, s in self._listed("", MACHINE) if (r.token, r.where) == (name, zone)]
                return _json(_instance(*shown[0])) if shown else _error(404, "notFound", name)
            case "DELETE", ["zones", zone, "instances" | "disks" as kind, name]:
                return self._delete(zone, MACHINE if kind == "instances" else DISK, name)
            case "GET", ["aggregated", "instances"]:
                return self._aggregated(
                    "instances", [_instance(*one) for one in self._listed(request.query.get("filter", ""), MACHINE)]
                )
            case "GET", ["aggregated", "disks"]:
                shown = self._listed(request.query.get("filter", ""), DISK)
                return self._aggregated("disks", [_disk(*one) for one in shown])
            case "GET", ["zones", zone, "operations"]:
                taken = [r for r in self.cloud.resources if r.interrupted and r.where == zone]
                what = "compute.instances.preempted"
                items = [{"name": f"p-{r.id}", "operationType": what, "targetLink": f"x/{r.token}"} for r in taken]
                return _json({"items": items})
            case "GET", [*_, "operations", name]:
                return _json(self._operations[name])
        return _error(404, "notFound", f"the fake does not speak {request.method} {path}")

    def _insert(self, zone: str, asked: dict[str, Any], request_id: str) -> Reply:
        name, what = asked["name"], asked["machineType"].rpartition("/")[2]
        if what not in self.prices:
            return _error(
                400, "invalid", f"Invalid value for field 'resource.machineType': '{what}' does not exist in {zone}"
            )
        standing = any(r.token == name and r.where == zone for r in self.cloud.standing(MACHINE))
        if standing and request_id not in self._asked:
            return _error(409, "alreadyExists", f"The resource {name} already exists")
        if not standing and request_id in self._asked:
            return _json(self._asked[request_id])
        schedule = asked.get("scheduling", {})
        lives = schedule.get("instanceTerminationAction") == "DELETE"
        seconds = schedule.get("maxRunDuration", {}).get("seconds")
        spot = schedule.get("provisioningModel") == "SPOT"
        user_data = next((i["value"] for i in asked["metadata"]["items"] if i["key"] == "user-data"), "")
        try:
            self.cloud.create(
                name,
                what=what,
                where=zone,
                tags=asked.get("labels", {}),
                usd_per_h=self.prices[what][spot],
                expires=self.cloud.clock.time() + int(seconds) if lives and seconds else None,
                purchase="spot" if spot else "on-demand",
                user_data=user_data,
            )
        except Trouble as trouble:
            if trouble.fault not in OPERATION_ERRORS:
                raise
            return self._operation("insert", zone, OPERATION_ERRORS[trouble.fault])
        reply = self._operation("insert", zone)
        self._asked[request_id] = json.loads(reply.body)
        return reply

    def _delete(self, zone: str, kind: str, name: str) -> Reply:
        found = [
            r for r in self.cloud.standing(kind) if (r.token if kind == MACHINE else r.id) == name and r.where == zone
        ]
        if not found:
            return _error(404, "notFound", name)
        self.cloud.delete(found[0].id)
        return self._operation("delete", zone)

    def _operation(self, kind: str, zone: str, error: str = "") -> Reply:
        name = f"operation-{next(self._numbers)}"
        done: dict[str, Any] = {"name": name, "operationType": kind, "status": "DONE", "zone": zone}
        if error:
            done["error"] = {"errors": [{"code": error, "message": f"{error} in {zone}"}]}
        self._operations[name] = done
        running = {key: value for key, value in done.items() if key != "error"} | {"status": "RUNNING"}
        return _json(running if error else done)

    def _listed(self, filter_: str, kind: str) -> list[tuple[Resource, str]]:
        tags = dict(re.findall(r'labels\.([\w-]+)="([^"]*)"', filter_))
        return [(r, state) for r, state in self.cloud.listing(**tags) if r.kind == kind and state != "gone"]

    def _aggregated(self, kind: str, shown: list[dict[str, Any]]) -> Reply:
        items: dict[str, Any] = {
            f"zones/{zone}": {kind: [one for one in shown if one["zone"] == zone]} for zone in ZONES
        }
        return _json({"items": items})


def _json(data: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(data).encode())


def _error(status: int, reason: str, text: str) -> Reply:
    told = {"code": status, "message": text, "errors": [{"reason": reason, "message": text}]}
    return _json({"error": told}, status)


def _stamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at))


def _instance(one: Resource, state: str) -> dict[str, Any]:
    access = [{"natIP": one.extra["address"]}] if "address" in one.extra and state == "up" else [{}]
    return {
        "name": one.token,
        "id": "1",
        "zone": one.where,
        "machineType": f"zones/{one.where}/machineTypes/{one.what}",
        "status": _STATES[state],
        "labels": dict(one.tags),
        "creationTimestamp": _stamp(one.made),
        "networkInterfaces": [{"accessConfigs": access}],
    }


def _disk(one: Resource, state: str) -> dict[str, Any]:
    status = "READY" if state == "up" else "DELETING"
    return {"name": one.id, "zone": one.where, "status": status, "sizeGb": "100", "labels": dict(one.tags)}
