"""Enough of EC2's and SSM's protocols for boto3, in front of a fake cloud.

Modelled: RunInstances (idempotent by ClientToken, tags, spot), DescribeInstances and its lag, TerminateInstances, volumes, spot
requests, the queries before a launch. A machine goes by itself when its user data's timer is over, if it was asked to terminate
on shutdown. Guessed: codes of refusals as EC2's documentation names them. Not modelled: networks, quotas by vCPU.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from cloudbandit.testing.fakecloud.cloud import DISK, MACHINE, FakeCloud, Fault, Resource, Trouble
from cloudbandit.testing.fakecloud.machines import power_off_s
from cloudbandit.testing.fakecloud.server import Reply, Request

ERRORS = {
    Fault.REFUSED: (500, "InsufficientInstanceCapacity"),
    Fault.LEFT: (500, "InsufficientInstanceCapacity"),
    Fault.QUOTA: (400, "VcpuLimitExceeded"),
    Fault.THROTTLED: (503, "RequestLimitExceeded"),
    Fault.FORBIDDEN: (403, "UnauthorizedOperation"),
    Fault.BROKEN: (500, "InternalError"),
    Fault.PARTIAL: (400, "InvalidBlockDeviceMapping"),
}
_STATES = {"up": "running", "going": "shutting-down", "gone": "terminated"}
REGIONS = ("us-east-1", "us-west-2")


class EC2:
    """Speaks for a cloud.

    Args:
        prices: USD per hour by instance type: on demand, and spot. Other types are not sold.
    """

    def __init__(self, cloud: FakeCloud, prices: Mapping[str, tuple[float, float]]) -> None:
        self.cloud, self.prices = cloud, prices
        self.access_keys: set[str] | None = None
        self.groups: dict[str, str] = {}

    def begin(self, cloud: FakeCloud) -> None:
        """Speak for another cloud from now on."""
        self.cloud = cloud

    def reply(self, request: Request) -> Reply:
        """See `cloudbandit.testing.fakecloud.server.Front`."""
        scope = re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/", request.headers.get("authorization", ""))
        if scope is None or (self.access_keys is not None and scope[1] not in self.access_keys):
            if scope is not None and scope[3] == "ssm":
                told = {"__type": "UnrecognizedClientException", "message": "The security token is invalid"}
                return Reply(400, json.dumps(told).encode(), "application/x-amz-json-1.1")
            return _error(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
        if scope[3] == "ssm":
            return Reply(body=json.dumps({"Parameter": {"Value": "ami-0f4ce"}}).encode())
        asked = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        actions: dict[str, Callable[[Mapping[str, str], str], str]] = {
            "RunInstances": self._run,
            "DescribeInstances": self._describe,
            "TerminateInstances": self._terminate,
            "DescribeVolumes": self._volumes,
            "DeleteVolume": self._delete_volume,
            "DescribeSpotInstanceRequests": lambda *_: "<spotInstanceRequestSet/>",
            "DescribeRegions": lambda *_: _set("regionInfo", [f"<regionName>{one}</regionName>" for one in REGIONS]),
            "DescribeImages": self._images,
            "DescribeInstanceTypeOfferings": self._sold,
            "DescribeSecurityGroups": self._groups,
            "CreateSecurityGroup": self._create_group,
            "AuthorizeSecurityGroupIngress": lambda *_: "<return>true</return>",
        }
        action = asked.get("Action", "")
        if action not in actions:
            return _error(400, "InvalidAction", f"the fake does not speak {action}")
        try:
            inner = actions[action](asked, scope[2])
        except Trouble as trouble:
            if trouble.lost:
                raise
            status, code = ERRORS[trouble.fault]
            return _error(status, code, str(trouble))
        except Refused as refused:
            return _error(400, *refused.args)
        name = "http://ec2.amazonaws.com/doc/2016-11-15/"
        return Reply(
            body=f'<{action}Response xmlns="{name}"><requestId>r</requestId>{inner}</{action}Response>'.encode(),
            kind="text/xml",
        )

    def _run(self, asked: Mapping[str, str], region: str) -> str:
        what, spot = asked["InstanceType"], asked.get("InstanceMarketOptions.MarketType") == "spot"
        if what not in self.prices:
            raise Refused("Unsupported", f"Your requested instance type ({what}) is not supported in {region}")
        if asked.get("MinCount") != "1" or asked.get("MaxCount") != "1":
            raise Refused("InvalidParameterValue", "the fake makes one machine at a time")
        user_data = base64.b64decode(asked.get("UserData", "")).decode()
        timer = power_off_s(user_data) if asked.get("InstanceInitiatedShutdownBehavior") == "terminate" else None
        tags = _tags(asked, "instance")
        made = self.cloud.create(
            asked.get("ClientToken") or f"no-token-{time.time_ns()}",
            what=what,
            where=region,
            tags=tags,
            usd_per_h=self.prices[what][spot],
            expires=None if timer is None else self.cloud.clock.time() + timer,
            purchase="spot" if spot else "on-demand",
            user_data=user_data,
            asked=dict(asked),
        )
        before = made.extra["asked"]
        if any(before.get(k) != v for k, v in asked.items() if k != "ClientToken"):
            raise Refused("IdempotentParameterMismatch", "the same client token with other parameters")
        return f"<reservationId>r-{made.id}</reservationId>" + _set("instancesSet", [_instance(made, "up")])

    def _describe(self, asked: Mapping[str, str], region: str) -> str:
        shown = [
            f"<reservationId>r-{one.id}</reservationId>" + _set("instancesSet", [_instance(one, state)])
            for one, state in self._listed(asked, region, MACHINE)
        ]
        return _set("reservationSet", shown)

    def _listed(self, asked: Mapping[str, str], region: str, kind: str) -> list[tuple[Resource, str]]:
        found = self.cloud.listing(**_filters(asked))
        return [(one, state) for one, state in found if one.kind == kind and one.where == region]

    def _terminate(self, asked: Mapping[str, str], region: str) -> str:
        self._known(asked["InstanceId.1"], "InvalidInstanceID.NotFound")
        self.cloud.delete(asked["InstanceId.1"])
        return _set("instancesSet", [f"<instanceId>{asked['InstanceId.1']}</instanceId>"])

    def _volumes(self, asked: Mapping[str, str], region: str) -> str:
        shown = []
        for one, state in self._listed(asked, region, DISK):
            word = {"up": "available", "going": "deleting", "gone": "deleted"}[state]
            shown.append(f"<volumeId>{one.id}</volumeId><size>100</size><status>{word}</status>{_tag_set(one)}")
        return _set("volumeSet", shown)

    def _delete_volume(self, asked: Mapping[str, str], region: str) -> str:
        self._known(asked["VolumeId"], "InvalidVolume.NotFound")
        self.cloud.delete(asked["VolumeId"])
        return "<return>true</return>"

    def _known(self, id: str, code: str) -> None:
        if not any(one.id == id for one in self.cloud.resources):
            raise Refused(code, id)

    def _images(self, asked: Mapping[str, str], region: str) -> str:
        wanted = asked.get("ImageId.1", "")
        if not wanted.startswith("ami-0"):
            raise Refused("InvalidAMIID.NotFound", f"The image id '[{wanted}]' does not exist")
        return _set("imagesSet", [f"<imageId>{wanted}</imageId><rootDeviceName>/dev/sda1</rootDeviceName>"])

    def _sold(self, asked: Mapping[str, str], region: str) -> str:
        wanted = [value for key, value in asked.items() if re.fullmatch(r"Filter\.1\.Value\.\d+", key)]
        sold = [f"<instanceType>{one}</instanceType>" for one in wanted if one in self.prices]
        return _set("instanceTypeOfferingSet", sold)

    def _groups(self, asked: Mapping[str, str], region: str) -> str:
        shown = [f"<groupId>{self.groups[region]}</groupId>"] if region in self.groups else []
        return _set("securityGroupInfo", shown)

    def _create_group(self, asked: Mapping[str, str], region: str) -> str:
        self.groups[region] = f"sg-{region}"
        return f"<groupId>{self.groups[region]}</groupId>"


class Refused(Exception):
    """A code and a text of EC2's."""


def _error(status: int, code: str, text: str) -> Reply:
    said = f"<Errors><Error><Code>{code}</Code><Message>{escape(text)}</Message></Error></Errors>"
    return Reply(status, f"<Response>{said}<RequestID>r</RequestID></Response>".encode(), "text/xml")


def _set(name: str, items: list[str]) -> str:
    return f"<{name}>" + "".join(f"<item>{item}</item>" for item in items) + f"</{name}>"


def _tags(asked: Mapping[str, str], kind: str) -> dict[str, str]:
    found = {}
    for key, value in asked.items():
        spec = re.fullmatch(r"TagSpecification\.(\d+)\.ResourceType", key)
        if spec and value == kind:
            n = 1
            while f"TagSpecification.{spec[1]}.Tag.{n}.Key" in asked:
                base = f"TagSpecification.{spec[1]}.Tag.{n}"
                found[asked[f"{base}.Key"]] = asked[f"{base}.Value"]
                n += 1
    return found


def _filters(asked: Mapping[str, str]) -> dict[str, str]:
    found, n = {}, 1
    while f"Filter.{n}.Name" in asked:
        name = asked[f"Filter.{n}.Name"]
        if name.startswith("tag:"):
            found[name.removeprefix("tag:")] = asked[f"Filter.{n}.Value.1"]
        n += 1
    return found


def _tag_set(one: Resource) -> str:
    return _set("tagSet", [f"<key>{escape(k)}</key><value>{escape(v)}</value>" for k, v in one.tags.items()])


def _instance(one: Resource, state: str) -> str:
    made = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(one.made))
    address = f"<ipAddress>{one.extra['address']}</ipAddress>" if "address" in one.extra and state == "up" else ""
    taken = (
        "<stateReason><code>Server.SpotInstanceTermination</code></stateReason>"
        if one.interrupted and state != "up"
        else ""
    )
    return (
        f"<instanceId>{one.id}</instanceId><instanceType>{one.what}</instanceType><launchTime>{made}</launchTime>{address}{taken}"
        f"<instanceState><code>16</code><name>{_STATES[state]}</name></instanceState>{_tag_set(one)}"
    )
