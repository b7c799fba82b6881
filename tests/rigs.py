"""Real SDK clients before fake clouds: a rig per provider, the same for all tests."""

import contextlib
import functools
import json
import sys
from dataclasses import dataclass, field

from cloudbandit.testing.fakecloud import FakeCloud
from cloudbandit.testing.fakecloud.machines import Machines
from cloudbandit.testing.fakecloud.server import Server

SDK = {"aws": "boto3", "gcp": "google.cloud.compute_v1", "azure": "azure.mgmt.compute"}
TYPES = {"aws": "g4dn.xlarge", "gcp": "g2-standard-4", "azure": "Standard_NC4as_T4_v3"}
REGION = {"aws": "us-east-1", "gcp": "us-central1", "azure": "eastus"}
ZONES = {"aws": 1, "gcp": 2, "azure": 1}
"""Where a launch is tried by turns, in one region."""
ONE_REGION = {"aws": {"everywhere": ["us-east-1"]}, "gcp": {}, "azure": {}}
ON_DEMAND, SPOT = 0.526, 0.2
HEAD = "provider,region,instance_type,accelerator,accelerators,vcpu,memory_gib,on_demand_usd_per_h,spot_usd_per_h,as_of,source\n"


@dataclass
class Rig:
    """A provider, and the truth behind it."""

    name: str
    cloud: FakeCloud
    front: object
    server: Server
    machines: Machines | None
    settings: dict = field(default_factory=dict)

    def provider(self, **more):
        """A fresh one, as another process would make it."""
        return make(self.name, {**self.settings, **more})


def make(name, settings):
    from cloudbandit.providers.registry import PROVIDERS

    return PROVIDERS.make(name, settings, "the test")


@contextlib.contextmanager
def rig(name, folder, monkeypatch, *, ssh=False, environment=None, answer=True, **cloud):
    """A rig that is taken down at the end."""
    made = FakeCloud(**cloud)
    prices = folder / f"{name}.csv"
    kinds = [TYPES[name], "not-sold"]
    rows = [f"{name},{REGION[name]},{kind},T4-16GB,1,4,16,{ON_DEMAND},{SPOT},2026-07-20,test" for kind in kinds]
    prices.write_text(HEAD + "\n".join(rows) + "\n")
    machines = Machines(made, environment, answer=answer) if ssh else None
    front = _front(name, made)
    server = Server(front)
    settings = {"prices": str(prices), "python": sys.executable, "user": "me", "purchase": ["on-demand", "spot"]}
    settings |= {"ssh_port": machines.port} if machines else {}
    settings |= _settings(name, server.url, monkeypatch, folder)
    try:
        yield Rig(name, made, front, server, machines, settings)
    finally:
        server.close()
        if machines:
            machines.close()


def _front(name, cloud):
    sold = {TYPES[name]: (ON_DEMAND, SPOT)}
    if name == "aws":
        from cloudbandit.testing.fakecloud.ec2 import EC2

        return EC2(cloud, sold)
    if name == "gcp":
        from cloudbandit.testing.fakecloud.gce import GCE

        return GCE(cloud, sold)
    from cloudbandit.testing.fakecloud.arm import ARM

    return ARM(cloud, sold)


@functools.lru_cache(maxsize=1)
def _rsa():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def _settings(name, url, monkeypatch, folder):
    account = {
        "type": "service_account",
        "project_id": "proj",
        "private_key_id": "planted-key-id",
        "private_key": _rsa(),
        "client_email": "me@proj.example",
        "client_id": "1",
        "token_uri": f"{url}/token",
    }
    if name == "gcp":
        (folder / "account.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(folder / "account.json"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(folder / "none"))
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLANTED0000000000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret-of-aws-0123456789")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    if name == "azure":
        return {"endpoint_url": url, "subscription": "planted-subscription"}
    return {"aws": {"endpoint_url": url}, "gcp": {"api_endpoint": url}}[name]


def reject(rig, monkeypatch):
    """From now on the provider does not know us."""
    rig.front.access_keys = {"AKIASOMEBODYELSE"}
    rig.front.known = False


def forget(rig, monkeypatch):
    """From now on we have no credentials; settings with which that shows."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    if rig.name != "azure":
        return {}
    import azure.identity

    def get_token(self, *scopes, **options):
        raise azure.identity.CredentialUnavailableError("no credential was found")

    for method in ("get_token", "get_token_info"):
        monkeypatch.setattr(azure.identity.DefaultAzureCredential, method, get_token)
    return {"endpoint_url": "https://127.0.0.1:1"}


def id_of(name, cloud, receipt):
    """The fake's own id of what a receipt is for."""
    return next(r.id for r in cloud.resources if r.kind == "machine" and r.tags.get("cloudbandit-key") == receipt.key)


def secrets(folder):
    """What was planted, beside tokens of a hub."""
    key = json.loads((folder / "account.json").read_text())["private_key"] or _rsa()
    return ["planted-secret-of-aws-0123456789", key.splitlines()[3], json.dumps(key)[60:120]]
