"""Compute Engine, by google-cloud-compute. Unverified live: tested on a server on loopback that speaks its API.

A machine's name is the lease's key, so that there is never a second one in a zone, and a request's id depends on key and zone
alone. Operations are followed here: the SDK's own way hides why one failed. The machine is deleted by the platform when its
``max_run_duration`` is over, and powers itself off as well.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cloudbandit.core.errors import NoCapacity, OfferBarred, ProviderError, UsageError, need
from cloudbandit.core.offer import SPOT, Offer, Tariff
from cloudbandit.core.rented import Receipt
from cloudbandit.providers.cloud import GOING, KEY, OURS, UP, CloudProvider, Rental, Seen
from cloudbandit.providers.gcp_errors import OF_OPERATION, errors
from cloudbandit.providers.refusals import Kind, refusal

_GPU_IMAGE = ("ubuntu-os-accelerator-images", "ubuntu-accelerator-2204-amd64-with-nvidia-550")
_CPU_IMAGE = ("ubuntu-os-cloud", "ubuntu-2204-lts")
_FIREWALL = "cloudbandit-ssh"
_STATES = {"STOPPING": GOING}
"""All others stand, the stopped ones (``TERMINATED``) with their disks; what is deleted is not listed."""
_GIB_USD_PER_H = 0.10 / 730
"""pd-balanced, us-central1, on 2026-07-20."""
_SCOPE = "https://www.googleapis.com/auth/compute"
_POLL_S, _OPERATION_S = 1.0, 180.0
PERMISSIONS = (
    "compute.zones.list",
    "compute.instances.create",
    "compute.instances.delete",
    "compute.instances.get",
    "compute.instances.list",
    "compute.instances.setLabels",
    "compute.instances.setMetadata",
    "compute.instances.setTags",
    "compute.disks.create",
    "compute.disks.delete",
    "compute.disks.list",
    "compute.disks.setLabels",
    "compute.subnetworks.use",
    "compute.subnetworks.useExternalIp",
    "compute.firewalls.get",
    "compute.firewalls.create",
    "compute.networks.updatePolicy",
    "compute.zoneOperations.get",
    "compute.zoneOperations.list",
    "compute.globalOperations.get",
)
"""All that is called; docs/clouds.md has the role."""


class GCPProvider(CloudProvider):
    """Google Compute Engine.

    Args:
        project: by default the credentials' own.
        api_endpoint: another endpoint than Google's.
        settings: see `cloudbandit.providers.cloud.Settings`.
    """

    name = "gcp"
    own = ("project", "api_endpoint")
    permissions = PERMISSIONS

    def __init__(self, *, project: str = "", api_endpoint: str = "", **settings: Any) -> None:
        super().__init__(settings)
        storage_usd_per_h = self.settings.disk_gib * _GIB_USD_PER_H
        self.tariff = Tariff(granularity_s=1.0, minimum_s=60.0, storage_usd_per_h=storage_usd_per_h)
        self._project, self._endpoint = project, api_endpoint
        self._credentials: Any = None
        self._clients: dict[str, Any] = {}
        self._zones: dict[str, list[str]] = {}
        self._images: dict[bool, str] = {}
        self._open = False
        self._setting_up = threading.RLock()

    # ── the SDK ──

    @property
    def _sdk(self) -> Any:
        return need("google.cloud.compute_v1", "gcp", "the provider gcp")

    def _client(self, kind: str) -> Any:
        with self._setting_up:
            if self._credentials is None:
                with errors():
                    import google.auth

                    credentials, project = google.auth.default(scopes=[_SCOPE])
                self._project = self._project or project or ""
                if not self._project:
                    raise UsageError(
                        "the provider gcp does not know the project; "
                        'cure: set GOOGLE_CLOUD_PROJECT, or project = "…" in the study'
                    )
                self._credentials = credentials
            if kind not in self._clients:
                options = {"api_endpoint": self._endpoint} if self._endpoint else None
                self._clients[kind] = getattr(self._sdk, f"{kind}Client")(
                    credentials=self._credentials, client_options=options
                )
            return self._clients[kind]

    def _call(self, kind: str, method: str, *allowed: int, **request: Any) -> Any:
        """One call, tried once; None where its status is allowed."""
        client, answer = self._client(kind), None
        with errors(*allowed):
            answer = getattr(client, method)(request={"project": self._project, **request}, retry=None, timeout=60.0)
        return answer

    def _followed(self, operation: Any, **where: str) -> Any:
        """The operation once it is done, or as it is when patience is over."""
        until = self.clock.monotonic() + _OPERATION_S
        kind = "ZoneOperations" if "zone" in where else "GlobalOperations"
        while operation.status != self._sdk.Operation.Status.DONE and self.clock.monotonic() < until:
            self.clock.sleep(_POLL_S)
            operation = self._call(kind, "get", operation=operation.name, **where)
        return operation

    def _zones_of(self, region: str) -> list[str]:
        with self._setting_up:
            if region not in self._zones:
                zones = self._call("Zones", "list")
                with errors():
                    found = list(zones)
                self._zones[region] = sorted(
                    z.name for z in found if z.name.rpartition("-")[0] == region and z.status == "UP"
                )
            if not self._zones[region]:
                raise OfferBarred("no_zone", f"the project has no zone in {region}")
            return self._zones[region]

    def _image(self, gpu: bool) -> str:
        """Looked up once, so that all trials of a run have the same."""
        with self._setting_up:
            if gpu not in self._images:
                project, family = _GPU_IMAGE if gpu else _CPU_IMAGE
                client = self._client("Images")
                if self.settings.image:
                    self._images[gpu] = self.settings.image
                else:
                    with errors():
                        request = {"project": project, "family": family}
                        self._images[gpu] = client.get_from_family(request=request, retry=None).self_link
            return self._images[gpu]

    def _let_ssh_in(self) -> None:
        """A firewall rule for machines with our network tag: SSH, and nothing else; made once, costs nothing."""
        with self._setting_up:
            if self._open:
                return
            if self._call("Firewalls", "get", 404, firewall=_FIREWALL) is None:
                port = str(self.settings.ssh_port)
                rule = self._sdk.Firewall(
                    name=_FIREWALL,
                    description="SSH alone, for machines of cloudbandit",
                    allowed=[self._sdk.Allowed(I_p_protocol="tcp", ports=[port])],
                    source_ranges=[self.settings.ssh_from],
                    target_tags=[OURS],
                )
                done = self._call("Firewalls", "insert_unary", 409, firewall_resource=rule)
                if done is not None:
                    self._followed(done)
            self._open = True

    # ── what CloudProvider asks for ──

    def _create(self, rental: Rental) -> Receipt:
        """In the region's zones by turns; where it is not known what became of a zone's, no other is asked."""
        zones = self._zones_of(rental.offer.region)
        if rental.where:  # asked before, and the answer was lost
            zones = [rental.where, *(zone for zone in zones if zone != rental.where)]
        self._let_ssh_in()
        last: NoCapacity | None = None
        for zone in zones:
            rental.where = zone
            try:
                return self._in_zone(rental, zone)
            except OfferBarred as none:
                if none.code.upper().startswith("QUOTA"):  # of the region or project
                    last = none
                    break
                last = last or none  # not sold in this zone bars no offer that another zone only has none of now
            except NoCapacity as none:
                last = none
            self._call("Instances", "delete_unary", 404, zone=zone, instance=rental.key)
        rental.where = ""  # something may be left in any of them
        assert last is not None
        raise type(last)(last.code, f"in {', '.join(zones)}: {last}", clean=False)

    def _in_zone(self, rental: Rental, zone: str) -> Receipt:
        request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{rental.key}/{zone}"))
        made = self._call(
            "Instances",
            "insert_unary",
            409,
            zone=zone,
            request_id=request_id,
            instance_resource=self._instance(rental, zone),
        )
        if made is not None:
            done = self._followed(made, zone=zone)
            for error in done.error.errors if done.error else []:
                kind = OF_OPERATION.get(error.code, Kind.UNKNOWN)
                raise refusal(kind, error.code, error.message, clean=False)
        else:  # 409: there is one of this name; ours, or somebody's
            found = self._call("Instances", "get", 404, zone=zone, instance=rental.key)
            if found is None or found.labels.get(KEY) != rental.key:
                raise ProviderError("name_taken", f"{zone} has another machine named {rental.key}", again=found is None)
        return Receipt(rental.key, rental.key, zone)

    def _instance(self, rental: Rental, zone: str) -> Any:
        sdk, offer = self._sdk, rental.offer
        disk = sdk.AttachedDisk(
            boot=True,
            auto_delete=True,
            initialize_params=sdk.AttachedDiskInitializeParams(
                source_image=self._image(bool(offer.accelerators)),
                disk_size_gb=self.settings.disk_gib,
                disk_type=f"zones/{zone}/diskTypes/pd-balanced",
                labels=dict(rental.tags),
            ),
        )
        access = sdk.AccessConfig(name="External NAT", type_="ONE_TO_ONE_NAT")
        seconds = max(60, int(rental.expires - rental.wall))
        return sdk.Instance(
            name=rental.key,
            machine_type=f"zones/{zone}/machineTypes/{offer.instance_type}",
            labels=dict(rental.tags),
            disks=[disk],
            network_interfaces=[sdk.NetworkInterface(network="global/networks/default", access_configs=[access])],
            tags=sdk.Tags(items=[OURS]),
            metadata=sdk.Metadata(items=[sdk.Items(key="user-data", value=rental.user_data)]),
            scheduling=sdk.Scheduling(
                provisioning_model="SPOT" if offer.purchase == SPOT else "STANDARD",
                instance_termination_action="DELETE",
                max_run_duration=sdk.Duration(seconds=seconds),
                on_host_maintenance="TERMINATE",
                automatic_restart=False,
            ),
        )

    def _list(self, tags: Mapping[str, str], where: str = "") -> list[Seen]:
        filter_ = " AND ".join(f'labels.{key}="{value}"' for key, value in tags.items())
        machines = [
            _machine(one, zone) for zone, scope in self._everywhere("Instances", filter_) for one in scope.instances
        ]
        disks = [
            _disk(one, zone)
            for zone, scope in self._everywhere("Disks", filter_)
            for one in scope.disks
            if not one.users
        ]
        return machines + disks

    def _everywhere(self, kind: str, filter_: str) -> list[tuple[str, Any]]:
        """One call lists every zone; one that leaves a zone out says nothing about it, so it counts as none."""
        found = []
        pages = self._call(kind, "aggregated_list", filter=filter_).pages
        with errors():
            for page in pages:
                if page.unreachables:
                    raise refusal(Kind.THROTTLED, "unreachable", f"{', '.join(page.unreachables)} could not be listed")
                found += [(zone.removeprefix("zones/"), scope) for zone, scope in page.items.items()]
        return found

    def _delete(self, seen: Seen) -> None:
        if seen.kind == "machine":
            self._call("Instances", "delete_unary", 404, zone=seen.where, instance=seen.id)
        else:
            self._call("Disks", "delete_unary", 404, zone=seen.where, disk=seen.id)

    def _one(self, rental: Rental) -> Seen | None:
        found = super()._one(rental)
        if found is None and rental.offer.purchase == SPOT and self.interrupted(rental.key):
            raise self.taken_back(rental.key)
        return found

    def interrupted(self, key: str) -> bool:
        """A machine that was taken back is not listed; the operation that took it is."""
        rental = self._rentals.get(key)
        if rental is None or not rental.where:
            return False
        wanted = 'operationType="compute.instances.preempted"'
        try:
            found = self._call("ZoneOperations", "list", zone=rental.where, filter=wanted)
            with errors():  # its further pages are asked for on the way
                return any(one.target_link.rpartition("/")[2] == key for one in found)
        except (ProviderError, NoCapacity):  # nobody can tell
            return False

    def image_of(self, offer: Offer) -> str:
        """As it was looked up."""
        return self._images.get(bool(offer.accelerators), self.settings.image)

    def available(self, offers: Sequence[Offer]) -> dict[str, tuple[str, str]]:
        """By label: ``yes``, ``no`` or ``unknown``, and why. Whether there is capacity only a launch tells."""
        told: dict[str, tuple[str, str]] = {}
        zones = self._call("Zones", "list")
        with errors():
            regions = {zone.name.rpartition("-")[0] for zone in zones if zone.status == "UP"}
        for offer in offers:
            known = offer.region in regions
            told[offer.label] = (
                ("unknown", "the project has the region; type, quota and capacity are told by a launch")
                if known
                else ("no", "the project has no such region")
            )
        return told


def _since(text: str) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def _machine(one: Any, zone: str) -> Seen:
    access = [config for net in one.network_interfaces for config in net.access_configs]
    return Seen(
        one.name,
        zone,
        _STATES.get(one.status, UP),
        dict(one.labels),
        what=one.machine_type.rpartition("/")[2],
        address=access[0].nat_i_p if access and one.status == "RUNNING" else "",
        since=_since(one.creation_timestamp),
        told=one.status,
    )


def _disk(one: Any, zone: str) -> Seen:
    state = GOING if one.status == "DELETING" else UP
    size = f"{one.size_gb} GiB"
    return Seen(
        one.name, zone, state, dict(one.labels), "disk", size, since=_since(one.creation_timestamp), told=one.status
    )
