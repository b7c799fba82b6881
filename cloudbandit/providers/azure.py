"""Azure Virtual Machines, by azure-mgmt-resource, -network and -compute. Unverified live: tested on a server on loopback.

Every lease is a resource group with the lease's key as its name, so that one deletion takes machine, disk, address and network,
and one listing of groups shows all that stands. Every call is a PUT by name: asking again makes no second machine. A machine that
is shut down from within is still billed here, so a timer in it saves nothing: what a dead process left stands until a resume or
`reap`.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from cloudbandit.core.errors import NoCapacity, ProviderError, UsageError, need
from cloudbandit.core.offer import SPOT, Offer, Tariff
from cloudbandit.core.rented import Receipt
from cloudbandit.providers.azure_errors import errors, kind_of
from cloudbandit.providers.cloud import GOING, KEY, OURS, UP, CloudProvider, Rental, Seen
from cloudbandit.providers.refusals import refusal

_GPU_IMAGE = "microsoft-dsvm:ubuntu-hpc:2204:latest"
_CPU_IMAGE = "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest"
_TYPE, _PURCHASE = "cloudbandit-type", "cloudbandit-purchase"
_GIB_USD_PER_H = 0.15 / 730
"""Premium SSD P10, eastus, on 2026-07-20."""
_SPACE, _SUBNET = "10.0.0.0/24", "hosts"

PERMISSIONS = (
    "Microsoft.Resources/subscriptions/resourceGroups/read",
    "Microsoft.Resources/subscriptions/resourceGroups/write",
    "Microsoft.Resources/subscriptions/resourceGroups/delete",
    "Microsoft.Resources/subscriptions/locations/read",
    "Microsoft.Network/networkSecurityGroups/*",
    "Microsoft.Network/publicIPAddresses/*",
    "Microsoft.Network/virtualNetworks/*",
    "Microsoft.Network/networkInterfaces/*",
    "Microsoft.Compute/virtualMachines/*",
    "Microsoft.Compute/disks/*",
)
"""All that is called, and what deleting a group needs; docs/clouds.md has the role."""


class AzureProvider(CloudProvider):
    """Azure.

    Args:
        subscription: by default ``AZURE_SUBSCRIPTION_ID``.
        endpoint_url: another endpoint than Azure's; on loopback without TLS it is asked without credentials.
        settings: see `cloudbandit.providers.cloud.Settings`; ``image`` is ``publisher:offer:sku:version``.
    """

    name = "azure"
    own = ("subscription", "endpoint_url")
    permissions = PERMISSIONS
    gone_s = 1200.0

    def __init__(self, *, subscription: str = "", endpoint_url: str = "", **settings: Any) -> None:
        super().__init__(settings)
        image = self.settings.image
        if image and image.count(":") != 3:
            raise UsageError(f"image of the provider azure is {image!r}; it must be publisher:offer:sku:version")
        storage_usd_per_h = self.settings.disk_gib * _GIB_USD_PER_H
        self.tariff = Tariff(granularity_s=1.0, minimum_s=60.0, storage_usd_per_h=storage_usd_per_h)
        self._subscription, self._endpoint = subscription, endpoint_url
        self._clients: dict[str, Any] = {}
        self._setting_up = threading.RLock()

    # ── the SDK ──

    def _client(self, kind: str) -> Any:
        modules = {
            "resource": "azure.mgmt.resource.resources",
            "network": "azure.mgmt.network",
            "compute": "azure.mgmt.compute",
        }
        with self._setting_up:
            if kind not in self._clients:
                subscription = self._subscription or os.environ.get("AZURE_SUBSCRIPTION_ID", "")
                if not subscription:
                    raise UsageError(
                        "the provider azure does not know the subscription; "
                        'cure: set AZURE_SUBSCRIPTION_ID, or subscription = "…" in the study'
                    )
                module = need(modules[kind], "azure", "the provider azure")
                made = getattr(module, f"{kind.capitalize()}ManagementClient")
                self._clients[kind] = made(self._credential(), subscription, retry_total=0, **self._elsewhere())
            return self._clients[kind]

    def _credential(self) -> Any:
        return need("azure.identity", "azure", "the provider azure").DefaultAzureCredential()

    def _elsewhere(self) -> dict[str, Any]:
        if not self._endpoint:
            return {}
        if not self._endpoint.startswith("http://127."):
            return {"base_url": self._endpoint, "credential_scopes": [f"{self._endpoint}/.default"]}
        from azure.core.pipeline.policies import SansIOHTTPPolicy

        class Loopback(SansIOHTTPPolicy):  # type: ignore[misc]
            """The SDK sends no token without TLS."""

            def on_request(self, request: Any) -> None:
                request.http_request.headers["Authorization"] = "Bearer loopback"

        return {"base_url": self._endpoint, "authentication_policy": Loopback(), "credential_scopes": ["loopback"]}

    # ── what CloudProvider asks for ──

    def _create(self, rental: Rental) -> Receipt:
        """A group, what a machine needs, and the machine; the answer to its PUT is the receipt."""
        key, offer = rental.key, rental.offer
        rental.where = offer.region
        tags = {**rental.tags, _TYPE: offer.instance_type, _PURCHASE: offer.purchase}
        here = {"location": offer.region, "tags": tags}
        with errors():
            self._client("resource").resource_groups.create_or_update(key, here)
            network = self._client("network")
            rule = {
                "name": "ssh",
                "priority": 100,
                "direction": "Inbound",
                "access": "Allow",
                "protocol": "Tcp",
                "sourceAddressPrefix": self.settings.ssh_from if self.settings.ssh_from != "0.0.0.0/0" else "*",
                "sourcePortRange": "*",
                "destinationAddressPrefix": "*",
                "destinationPortRange": str(self.settings.ssh_port),
            }
            name = rule.pop("name")
            rules = [{"name": name, "properties": rule}]
            guard = network.network_security_groups.begin_create_or_update(
                key, key, {**here, "properties": {"securityRules": rules}}
            ).result()
            address = network.public_ip_addresses.begin_create_or_update(
                key, key, {**here, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
            ).result()
            subnet = {
                "name": _SUBNET,
                "properties": {"addressPrefix": _SPACE, "networkSecurityGroup": {"id": guard.id}},
            }
            net = network.virtual_networks.begin_create_or_update(
                key, key, {**here, "properties": {"addressSpace": {"addressPrefixes": [_SPACE]}, "subnets": [subnet]}}
            ).result()
            inside = {"subnet": {"id": f"{net.id}/subnets/{_SUBNET}"}, "publicIPAddress": {"id": address.id}}
            card = network.network_interfaces.begin_create_or_update(
                key, key, {**here, "properties": {"ipConfigurations": [{"name": "one", "properties": inside}]}}
            ).result()
            machine = {**here, "properties": self._machine(rental, str(card.id))}
            self._client("compute").virtual_machines.begin_create_or_update(key, key, machine, polling=False)
        return Receipt(key, key, offer.region)

    def _machine(self, rental: Rental, card: str) -> dict[str, Any]:
        offer = rental.offer
        names = ("publisher", "offer", "sku", "version")
        reference = dict(zip(names, self.image_of(offer).split(":"), strict=True))
        disk = {"createOption": "FromImage", "deleteOption": "Delete", "diskSizeGB": self.settings.disk_gib}
        login = f"/home/{self.settings.user}/.ssh/authorized_keys"
        keys = {"publicKeys": [{"path": login, "keyData": self.login.public}]}
        spot: dict[str, Any] = {
            "priority": "Spot",
            "evictionPolicy": "Delete",
            "billingProfile": {"maxPrice": offer.usd_per_h},
        }
        return {
            "hardwareProfile": {"vmSize": offer.instance_type},
            "storageProfile": {"imageReference": reference, "osDisk": disk},
            "osProfile": {
                "computerName": rental.key,
                "adminUsername": self.settings.user,
                "customData": base64.b64encode(rental.user_data.encode()).decode(),
                "linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": keys},
            },
            "networkProfile": {"networkInterfaces": [{"id": card, "properties": {"deleteOption": "Delete"}}]},
            **(spot if offer.purchase == SPOT else {}),
        }

    def _list(self, tags: Mapping[str, str], where: str = "") -> list[Seen]:
        """Groups with our tag, in every region by one call; the service filters by one tag, so the rest is filtered here."""
        with errors():
            groups = list(
                self._client("resource").resource_groups.list(filter=f"tagName eq '{OURS}' and tagValue eq '1'")
            )
        found = [_group(one) for one in groups]
        return [seen for seen in found if all(seen.tags.get(key) == value for key, value in tags.items())]

    def _delete(self, seen: Seen) -> None:
        with errors(404):
            self._client("resource").resource_groups.begin_delete(seen.id, polling=False)

    def _one(self, rental: Rental) -> Seen | None:
        """The machine in its group: whether it was made, was taken back, and its address."""
        seen = super()._one(rental)
        if seen is None:
            return None
        made = self._vm(rental.key)
        if made is None:
            if rental.stood and rental.offer.purchase == SPOT:
                raise self.taken_back(rental.key)
            return None
        if made.provisioning_state == "Failed":
            statuses = made.instance_view.statuses if made.instance_view else []
            failed = next((s for s in statuses if s.code.startswith("ProvisioningState/failed/")), None)
            code = failed.code.rpartition("/")[2] if failed else "Failed"
            text = (failed.message if failed else "") or "the machine could not be made"
            raise refusal(kind_of(code, 0, text), code, text, clean=False)
        address = None
        with errors(404):
            address = self._client("network").public_ip_addresses.get(rental.key, rental.key)
        return Seen(seen.id, seen.where, UP, seen.tags, address=(address.ip_address or "") if address else "")

    def _vm(self, key: str) -> Any:
        made = None
        with errors(404):
            made = self._client("compute").virtual_machines.get(key, key, expand="instanceView")
        return made

    def interrupted(self, key: str) -> bool:
        """A spot machine that was taken back is deleted, and its group stands."""
        rental = self._rentals.get(key)
        if rental is None or rental.offer.purchase != SPOT or not rental.stood:
            return False
        try:
            return bool(self._listed({KEY: key})) and self._vm(key) is None
        except (ProviderError, NoCapacity):  # nobody can tell
            return False

    def image_of(self, offer: Offer) -> str:
        """As it is asked for; which version that is, the platform decides."""
        return self.settings.image or (_GPU_IMAGE if offer.accelerators else _CPU_IMAGE)

    def available(self, offers: Sequence[Offer]) -> dict[str, tuple[str, str]]:
        """By label: nothing is known before a launch."""
        return {offer.label: ("unknown", "quota and capacity are told by a launch") for offer in offers}


def _group(one: Any) -> Seen:
    tags = dict(one.tags or {})
    told = str(one.properties.provisioning_state) if one.properties else ""
    return Seen(one.name, one.location, GOING if told == "Deleting" else UP, tags, what=tags.get(_TYPE, ""), told=told)
