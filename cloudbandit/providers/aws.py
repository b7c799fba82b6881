"""EC2, by boto3. Unverified live: tested on servers on loopback that speak its API; docs/money-safety.md says what that proves.

A launch is one RunInstances for one machine with the lease's key as ClientToken, so that asking again gives the same machine; the
SDK's own retries are off. The machine terminates when it is shut down, and shuts itself down when its time is over.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cloudbandit.core.errors import ProviderError, UsageError, need
from cloudbandit.core.offer import SPOT, Offer, Tariff
from cloudbandit.core.rented import Receipt
from cloudbandit.providers.cloud import GOING, GONE, OURS, UP, CloudProvider, Rental, Seen
from cloudbandit.providers.refusals import Kind, refusal

_GPU_IMAGE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
_CPU_IMAGE = "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"
_GROUP = "cloudbandit-ssh"
_HOME = "us-east-1"
_STATES = {"pending": UP, "running": UP, "stopping": UP, "stopped": UP, "shutting-down": GOING, "terminated": GONE}
_GIB_USD_PER_H = 0.08 / 730
"""gp3, us-east-1, on 2026-07-20."""

ERRORS = {
    **dict.fromkeys(
        (
            "InsufficientInstanceCapacity",
            "InsufficientHostCapacity",
            "InsufficientReservedInstanceCapacity",
            "InsufficientCapacity",
            "SpotMaxPriceTooLow",
        ),
        Kind.CAPACITY,
    ),
    **dict.fromkeys(
        ("VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "VolumeLimitExceeded"),
        Kind.QUOTA,
    ),
    **dict.fromkeys(("Unsupported", "UnsupportedOperation", "InvalidInstanceType", "OptInRequired"), Kind.NOT_SOLD),
    **dict.fromkeys(
        (
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
            "InternalError",
            "InternalFailure",
            "Unavailable",
            "ServiceUnavailable",
        ),
        Kind.THROTTLED,
    ),
    **dict.fromkeys(
        (
            "AuthFailure",
            "UnauthorizedOperation",
            "InvalidClientTokenId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "UnrecognizedClientException",
            "AccessDenied",
            "AccessDeniedException",
            "PendingVerification",
            "Blocked",
        ),
        Kind.AUTH,
    ),
}
"""Codes of EC2 and SSM. Others that begin with ``Invalid`` or ``Missing`` are invalid, the rest unknown."""
_CURES = {
    "RequestExpired": " Cure: set this machine's clock; it differs from the provider's",
    "OptInRequired": " Cure: enable the region in the account",
}

PERMISSIONS = (
    "ec2:RunInstances",
    "ec2:TerminateInstances",
    "ec2:DescribeInstances",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeImages",
    "ec2:DescribeRegions",
    "ec2:DescribeVolumes",
    "ec2:DeleteVolume",
    "ec2:DescribeSpotInstanceRequests",
    "ec2:CancelSpotInstanceRequests",
    "ec2:DescribeSecurityGroups",
    "ec2:CreateSecurityGroup",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateTags",
    "ssm:GetParameter",
)
"""All that is called; docs/clouds.md has the policy. For spot machines the account needs EC2's service-linked role, once."""


def kind_of(code: str, status: int = 0) -> Kind:
    """What an error's code is; by the HTTP status where it has none that is known."""
    known = ERRORS.get(code.removeprefix("Server.").removeprefix("Client."))
    if known is None and code.startswith(("Invalid", "Missing", "IdempotentParameterMismatch")):
        return Kind.INVALID
    if known is None and status >= 500:
        return Kind.THROTTLED
    return known or Kind.UNKNOWN


class AWSProvider(CloudProvider):
    """Amazon EC2.

    Args:
        profile: of the shared credentials file; by default what the SDK finds.
        endpoint_url: another endpoint than Amazon's, for every service and region.
        everywhere: regions to list and sweep, and alone to rent in; by default all that the account has enabled.
        settings: see `cloudbandit.providers.cloud.Settings`.
    """

    name = "aws"
    own = ("profile", "endpoint_url", "everywhere")
    permissions = PERMISSIONS

    def __init__(
        self,
        *,
        profile: str = "",
        endpoint_url: str = "",
        everywhere: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        super().__init__(settings)
        storage_usd_per_h = self.settings.disk_gib * _GIB_USD_PER_H
        self.tariff = Tariff(granularity_s=1.0, minimum_s=60.0, storage_usd_per_h=storage_usd_per_h)
        if not (isinstance(everywhere, list | tuple) and all(isinstance(one, str) and one for one in everywhere)):
            raise UsageError(f"everywhere of the provider aws is {everywhere!r}; it must be a list of regions")
        unswept = sorted({o.region for o in self._offers} - set(everywhere)) if everywhere else []
        if set(unswept) & set(self.settings.regions):
            raise UsageError(f"everywhere of the provider aws lacks {', '.join(unswept)}, which its regions name")
        self._offers = [o for o in self._offers if o.region not in unswept]  # what is made there no sweep would find
        self._profile, self._endpoint_url, self._everywhere = profile, endpoint_url, tuple(everywhere)
        self._clients: dict[tuple[str, str], Any] = {}
        self._images: dict[tuple[str, bool], tuple[str, str]] = {}
        self._groups: dict[str, str] = {}
        self._setting_up = threading.RLock()

    # ── the SDK ──

    def _client(self, service: str, region: str) -> Any:
        """Its calls are tried once: what is to be tried again, and how, is known where it is asked."""
        with self._setting_up:
            if (service, region) not in self._clients:
                boto3 = need("boto3", "aws", "the provider aws")
                from botocore.config import Config

                config = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60)
                with _errors():
                    session = boto3.Session(profile_name=self._profile or None)
                    self._clients[service, region] = session.client(
                        service, region_name=region, config=config, endpoint_url=self._endpoint_url or None
                    )
            return self._clients[service, region]

    def _regions(self) -> list[str]:
        if not self._everywhere:
            with _errors():
                found = self._client("ec2", _HOME).describe_regions(AllRegions=False)["Regions"]
            self._everywhere = tuple(sorted(one["RegionName"] for one in found))
        return list(self._everywhere)

    def _image(self, region: str, gpu: bool) -> tuple[str, str]:
        """The image and the name of its root device; looked up once, so that all trials of a run have the same."""
        with self._setting_up:
            if (region, gpu) not in self._images:
                with _errors():
                    image = self.settings.image
                    if not image:
                        query = _GPU_IMAGE if gpu else _CPU_IMAGE
                        image = self._client("ssm", region).get_parameter(Name=query)["Parameter"]["Value"]
                    found = self._client("ec2", region).describe_images(ImageIds=[image])["Images"]
                if not found:
                    raise ProviderError("InvalidAMIID.NotFound", f"there is no image {image} in {region}")
                self._images[region, gpu] = image, found[0].get("RootDeviceName", "/dev/sda1")
            return self._images[region, gpu]

    def _group(self, region: str) -> str:
        """A security group of the default network that lets SSH in and nothing else; made once, costs nothing."""
        with self._setting_up, _errors():
            if region not in self._groups:
                ec2 = self._client("ec2", region)
                named = [{"Name": "group-name", "Values": [_GROUP]}]
                found = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
                group = found[0] if found else None
                if group is None:
                    tags = [{"ResourceType": "security-group", "Tags": [{"Key": OURS, "Value": "network"}]}]
                    about = "SSH alone, for machines of cloudbandit"
                    group = ec2.create_security_group(GroupName=_GROUP, Description=about, TagSpecifications=tags)
                port, sources = self.settings.ssh_port, [{"CidrIp": self.settings.ssh_from}]
                rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": sources}
                with _allowed("InvalidPermission.Duplicate"):
                    ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])
                self._groups[region] = str(group["GroupId"])
            return self._groups[region]

    # ── what CloudProvider asks for ──

    def _create(self, rental: Rental) -> Receipt:
        offer = rental.offer
        image, root = self._image(offer.region, bool(offer.accelerators))
        tags = [{"Key": key, "Value": value} for key, value in rental.tags.items()]
        kinds = ["instance", "volume"] + (["spot-instances-request"] if offer.purchase == SPOT else [])
        disk = {"VolumeSize": self.settings.disk_gib, "VolumeType": "gp3", "DeleteOnTermination": True}
        request: dict[str, Any] = {
            "ClientToken": rental.key,
            "MinCount": 1,
            "MaxCount": 1,
            "InstanceType": offer.instance_type,
            "ImageId": image,
            "UserData": rental.user_data,
            "SecurityGroupIds": [self._group(offer.region)],
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required"},
            "BlockDeviceMappings": [{"DeviceName": root, "Ebs": disk}],
            "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in kinds],
        }
        if offer.purchase == SPOT:
            options = {"MaxPrice": f"{offer.usd_per_h:.6f}", "SpotInstanceType": "one-time"}
            options["InstanceInterruptionBehavior"] = "terminate"
            request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
        rental.where = offer.region
        with _errors():
            made = self._client("ec2", offer.region).run_instances(**request)["Instances"][0]
        return Receipt(rental.key, made["InstanceId"], offer.region)

    def _list(self, tags: Mapping[str, str], where: str = "") -> list[Seen]:
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
        found: list[Seen] = []
        for region in [where] if where else self._regions():
            with _errors():
                ec2 = self._client("ec2", region)
                for page in ec2.get_paginator("describe_instances").paginate(Filters=filters):
                    found += [_machine(one, region) for many in page["Reservations"] for one in many["Instances"]]
                for page in ec2.get_paginator("describe_volumes").paginate(Filters=filters):
                    found += [_disk(one, region) for one in page["Volumes"] if not one.get("Attachments")]
                open_ = {"Name": "state", "Values": ["open", "active"]}
                for one in ec2.describe_spot_instance_requests(Filters=[*filters, open_])["SpotInstanceRequests"]:
                    found.append(_request(one, region))
        return found

    def _delete(self, seen: Seen) -> None:
        ec2 = self._client("ec2", seen.where)
        with _errors(), _allowed("InvalidInstanceID.NotFound", "InvalidVolume.NotFound"):
            if seen.kind == "machine":
                ec2.terminate_instances(InstanceIds=[seen.id])
            elif seen.kind == "disk":
                ec2.delete_volume(VolumeId=seen.id)
            else:
                ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[seen.id])

    def image_of(self, offer: Offer) -> str:
        """As it was looked up."""
        return self._images.get((offer.region, bool(offer.accelerators)), (self.settings.image, ""))[0]

    def available(self, offers: Sequence[Offer]) -> dict[str, tuple[str, str]]:
        """By label: ``yes``, ``no`` or ``unknown``, and why. Whether there is capacity only a launch tells."""
        told: dict[str, tuple[str, str]] = {}
        enabled = self._regions()
        for region in dict.fromkeys(offer.region for offer in offers):
            mine = [offer for offer in offers if offer.region == region]
            if region not in enabled:
                told |= {offer.label: ("no", "the region is not enabled for the account") for offer in mine}
                continue
            types = [{"Name": "instance-type", "Values": sorted({offer.instance_type for offer in mine})}]
            with _errors():
                pages = (
                    self._client("ec2", region)
                    .get_paginator("describe_instance_type_offerings")
                    .paginate(Filters=types)
                )
                sold = {one["InstanceType"] for page in pages for one in page["InstanceTypeOfferings"]}
            for offer in mine:
                told[offer.label] = ("unknown", "sold there; quota and capacity are told by a launch")
                if offer.instance_type not in sold:
                    told[offer.label] = ("no", "not sold in the region")
        return told


def _tags(one: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}


def _since(value: Any) -> float | None:
    return value.timestamp() if isinstance(value, datetime) else None


def _machine(one: Mapping[str, Any], region: str) -> Seen:
    told = one["State"]["Name"]
    reason = one.get("StateReason", {}).get("Code", "")
    return Seen(
        one["InstanceId"],
        region,
        _STATES.get(told, UP),
        _tags(one),
        what=one.get("InstanceType", ""),
        address=one.get("PublicIpAddress", "") if told == "running" else "",
        interrupted=reason.startswith("Server.Spot"),
        since=_since(one.get("LaunchTime")),
        told=f"{told} {reason}".strip(),
    )


def _disk(one: Mapping[str, Any], region: str) -> Seen:
    state = {"deleting": GOING, "deleted": GONE}.get(one["State"], UP)
    since, told = _since(one.get("CreateTime")), one["State"]
    return Seen(
        one["VolumeId"], region, state, _tags(one), "disk", f"{one.get('Size', '')} GiB", since=since, told=told
    )


def _request(one: Mapping[str, Any], region: str) -> Seen:
    id, told = one["SpotInstanceRequestId"], one["State"]
    return Seen(id, region, UP, _tags(one), "spot request", since=_since(one.get("CreateTime")), told=told)


@contextlib.contextmanager
def _allowed(*codes: str) -> Iterator[None]:
    """An error that says what was wanted is so already."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in codes:
            raise


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """The SDK's exceptions as ours."""
    need("boto3", "aws", "the provider aws")
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    try:
        yield
    except exceptions.ClientError as error:
        told = error.response.get("Error", {})
        code, status = told.get("Code", ""), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise refusal(kind_of(code, status), code, told.get("Message", "") + _CURES.get(code, "")) from error
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.ProfileNotFound,
        exceptions.CredentialRetrievalError,
        exceptions.SSOError,
        exceptions.TokenRetrievalError,
    ) as error:
        cure = "Cure: `aws configure`, AWS_PROFILE, or a role of this machine"
        raise refusal(Kind.AUTH, "no_credentials", f"{error}. {cure}") from error
    except (exceptions.HTTPClientError, exceptions.ConnectionError, ResponseParserError) as error:
        raise refusal(Kind.THROTTLED, type(error).__name__, str(error)) from error
    except exceptions.BotoCoreError as error:
        raise refusal(Kind.INVALID, type(error).__name__, str(error)) from error
