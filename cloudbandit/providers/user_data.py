"""What a machine is told before it boots: whom to let in, by which key it is known, and when to go by itself."""

from __future__ import annotations

import json
import math

from cloudbandit.providers.ssh_connect import KeyPair


def cloud_config(*, host: KeyPair, authorized: str, seconds: float) -> str:
    """For cloud-init. JSON is YAML, so nothing is needed to write it.

    The host's private key lies in the machine's user data, where its account's administrators and programs on the machine can
    read it; it is fresh, known to no other machine, and gone with it. It keeps anybody on the way from posing as the machine.

    Args:
        host: the machine's own key pair.
        authorized: a line for ``authorized_keys``.
        seconds: after them it powers off, whatever else happens; armed before anything else runs, on every boot anew.
    """
    after = max(1, math.ceil(seconds))
    armed = f"systemd-run --on-active={after} /sbin/poweroff || (sleep {after}; /sbin/poweroff -f) &"
    private, public = host.private_text(), host.public
    told = {
        "bootcmd": [["sh", "-c", armed]],
        "ssh_deletekeys": True,
        "ssh_genkeytypes": [],
        "ssh_keys": {"ed25519_private": private, "ed25519_public": public},
        "ssh_pwauth": False,
        "ssh_authorized_keys": [authorized],
        "package_update": False,
    }
    return "#cloud-config\n" + json.dumps(told)
