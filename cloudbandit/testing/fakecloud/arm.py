"""Enough of Azure Resource Manager's REST API for azure-mgmt-resource, -network and -compute, in front of a fake cloud.

Modelled: resource groups with tags, their listing and its lag, their deletion with all that is in them; networks, which cost
nothing; machines that are refused at once, or fail later and stay in their group; eviction. Guessed: codes of refusals, as the
documentation names them. A machine has no switch of its own: powered off from within it is still billed.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from cloudbandit.testing.fakecloud.cloud import MACHINE, FakeCloud, Fault, Resource, Trouble
from cloudbandit.testing.fakecloud.server import Reply, Request

GROUP = "group"
ERRORS = {
    Fault.REFUSED: (409, "SkuNotAvailable"),
    Fault.QUOTA: (409, "OperationNotAllowed"),
    Fault.THROTTLED: (429, "TooManyRequests"),
    Fault.FORBIDDEN: (403, "AuthorizationFailed"),
    Fault.BROKEN: (503, "ServerTimeout"),
    Fault.PARTIAL: (409, "DiskAttachFailed"),
}


class ARM:
    """Speaks for a cloud.

    Args:
        prices: USD per hour by VM size: on demand, and spot. Other sizes are not sold.
    """

    def __init__(self, cloud: FakeCloud, prices: Mapping[str, tuple[float, float]]) -> None:
        self.cloud, self.prices, self.known = cloud, prices, True
        self._networks: dict[str, dict[str, Any]] = {}

    def begin(self, cloud: FakeCloud) -> None:
        """Speak for another cloud from now on."""
        self.cloud = cloud
        self._networks.clear()

    def reply(self, request: Request) -> Reply:
        """See `cloudbandit.testing.fakecloud.server.Front`."""
        if not (self.known and request.headers.get("authorization", "").startswith("Bearer ")):
            return _error(401, "InvalidAuthenticationToken", "The access token is invalid.")
        path = re.sub(r"^/subscriptions/[^/]+/", "", request.path)
        try:
            return self._routed(request, path.split("/"))
        except Trouble as trouble:
            if trouble.lost:
                raise
            return _error(*ERRORS[trouble.fault], str(trouble))

    def _routed(self, request: Request, path: list[str]) -> Reply:
        body = json.loads(request.body) if request.body else {}
        path[0] = path[0].lower()
        match request.method, path:
            case "GET", ["resourcegroups"]:
                return self._groups()
            case "PUT", ["resourcegroups", name]:
                return _json(
                    _group(self.cloud.place(GROUP, name, where=body["location"], tags=body.get("tags", {})), "up"), 201
                )
            case "DELETE", ["resourcegroups", name]:
                return self._delete(name, request.base)
            case "GET", ["operations", _]:
                return Reply(200)
            case "PUT", ["resourcegroups", group, "providers", "Microsoft.Compute", "virtualMachines", _]:
                return self._create(group, body, request.path)
            case "GET", ["resourcegroups", group, "providers", "Microsoft.Compute", "virtualMachines", _]:
                return self._machine(group, request.path)
            case "PUT", ["resourcegroups", _, "providers", "Microsoft.Network", _, _]:
                self._networks[request.path] = body
                return _json(
                    {**body, "id": request.path, "properties": {**body["properties"], "provisioningState": "Succeeded"}}
                )
            case "GET", ["resourcegroups", group, "providers", "Microsoft.Network", "publicIPAddresses", _]:
                machine = self._find(group)
                address = {} if machine is None else {"ipAddress": machine.extra.get("address", "")}
                return _json({"id": request.path, "location": "x", "properties": address})
        return _error(404, "ResourceNotFound", f"the fake does not know {request.method} {'/'.join(path)}")

    def _find(self, group: str) -> Resource | None:
        now = self.cloud.clock.time()
        return next(
            (
                r
                for r in self.cloud.resources
                if (r.kind, r.token) == (MACHINE, group) and r.state(now) in ("up", "going")
            ),
            None,
        )

    def _groups(self) -> Reply:
        shown = [
            _group(one, state)
            for one, state in self.cloud.listing(cloudbandit="1")
            if one.kind == GROUP and state != "gone"
        ]
        return _json({"value": shown})

    def _delete(self, name: str, base: str) -> Reply:
        found = [r for r in self.cloud.standing(GROUP) if r.token == name]
        if not found:
            return _error(404, "ResourceGroupNotFound", name)
        try:
            self.cloud.delete(found[0].id)
        finally:
            if found[0].going is not None:
                for one in self.cloud.resources:
                    if one.token == name and one.kind != GROUP and one.going is None:
                        one.going, one.gone = found[0].going, found[0].gone
                        self.cloud.on_gone(one)
        return Reply(202, headers={"Location": f"{base}/subscriptions/s/operations/{name}", "Retry-After": "1"})

    def _create(self, group: str, asked: dict[str, Any], path: str) -> Reply:
        of = asked["properties"]
        what, spot = of["hardwareProfile"]["vmSize"], of.get("priority") == "Spot"
        if what not in self.prices:
            return _error(400, "InvalidParameter", f"The value {what} provided for the VM size is not valid.")
        if not any(r.token == group for r in self.cloud.standing(GROUP)):
            return _error(404, "ResourceGroupNotFound", group)
        user_data = base64.b64decode(of["osProfile"].get("customData", "")).decode()
        try:
            self.cloud.create(
                group,
                what=what,
                where=asked["location"],
                tags=asked.get("tags", {}),
                usd_per_h=self.prices[what][spot],
                purchase="spot" if spot else "on-demand",
                user_data=user_data,
            )
        except Trouble as trouble:
            if trouble.fault is not Fault.LEFT:
                raise
            made = self._find(group)
            if made is not None:
                made.extra["failed"] = "AllocationFailed"
        return _json(
            {"id": path, "name": group, "location": asked["location"], "properties": {"provisioningState": "Creating"}},
            201,
        )

    def _machine(self, group: str, path: str) -> Reply:
        one = self._find(group)
        if one is None or one.interrupted:
            return _error(404, "ResourceNotFound", group)
        failed = one.extra.get("failed")
        code = f"ProvisioningState/failed/{failed}" if failed else "ProvisioningState/succeeded"
        view = {"statuses": [{"code": code, "level": "Info", "message": "Allocation failed." if failed else ""}]}
        of = {"provisioningState": "Failed" if failed else "Succeeded", "instanceView": view}
        return _json({"id": path, "name": group, "location": one.where, "properties": of})


def _group(one: Resource, state: str) -> dict[str, Any]:
    told = {"up": "Succeeded", "going": "Deleting"}[state]
    return {"name": one.token, "location": one.where, "tags": dict(one.tags), "properties": {"provisioningState": told}}


def _json(data: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(data).encode())


def _error(status: int, code: str, text: str) -> Reply:
    return _json({"error": {"code": code, "message": text}}, status)
