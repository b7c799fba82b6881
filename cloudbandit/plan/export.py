"""A plan as others take it: CSV schedules, and Kubernetes CronJobs that scale deployments hour by hour."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from cloudbandit.core.errors import UsageError
from cloudbandit.core.outputs import check_folder
from cloudbandit.plan.plan import Plan

_DAY, _WEEK = 24, 168


def write_csv(plan: Plan, folder: str | Path) -> list[Path]:
    """``fleet.csv`` and ``routing.csv``: `Plan.fleet` and `Plan.routing`.

    Raises:
        UsageError: the folder cannot be written to.
    """
    folder = Path(folder)
    check_folder(folder, "the schedule")
    out = []
    for name, frame in (("fleet", plan.fleet()), ("routing", plan.routing())):
        path = folder / f"{name}.csv"
        frame.to_csv(path, index=False)
        out.append(path)
    return out


def manifests(
    plan: Plan, namespace: str = "default", image: str = "registry.k8s.io/kubectl:v1.34.0"
) -> list[dict[str, Any]]:
    """Kubernetes objects that follow the plan: per workload and offer a CronJob for each hour at which its number of machines
    changes, which scales the Deployment ``<workload>-<offer>``; and what these jobs are allowed to do.

    A plan of a day repeats daily, one of a week weekly; times are UTC, earlier by what a machine takes to start. The deployments
    themselves (engine, node selector) are the user's.

    A number of machines that never changes is set again at the plan's first hour.

    Raises:
        UsageError: the plan is neither of a day nor of a week in steps of whole hours, or a machine takes a step or longer to
            start: its order would come before that of the step before.
    """
    demand = plan.problem.demand
    hours = len(demand) * demand.step_h
    if hours not in (_DAY, _WEEK) or demand.step_h % 1:
        raise UsageError(
            f"a schedule repeats daily or weekly; the plan is of {hours:g} h in steps of {demand.step_h:g} h"
        )
    account = {"name": "cloudbandit-scaler", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account["name"]}
    rule = {
        "apiGroups": ["apps"],
        "resources": ["deployments", "deployments/scale"],
        "verbs": ["get", "patch", "update"],
    }
    out: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": dict(account)},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": dict(account), "rules": [rule]},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": dict(account),
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", **account}],
        },
    ]
    for (w, r), n in plan.groups.items():
        rental = plan.problem.rentals[r]
        whole = f"{plan.problem.workloads[w].name}-{rental.machine.name}"
        target = kubernetes_name(whole)
        if rental.start_s >= demand.step_s and n.any():
            raise UsageError(
                f"{rental.machine.name} takes {rental.start_s:g} s to start, a step of {demand.step_s:g} s or longer, which "
                "no timetable of scales says; cure: longer steps (demand.step_h)"
            )
        for t in range(len(n)):
            steady = t == 0 and n.any() and (n == n[0]).all()
            if n[t] != n[t - 1] or steady:  # the last step comes before the first one
                early = rental.start_s if n[t] > n[t - 1] else 0.0
                when = demand.start + timedelta(seconds=t * demand.step_s - early)
                day = "*" if hours == _DAY else str((when.weekday() + 1) % 7)
                name = f"{kubernetes_name(whole, 48)}-{t:03d}"
                out.append(_job(name, f"{when.minute} {when.hour} * * {day}", target, int(n[t]), account, image))
    return out


def _job(name: str, schedule: str, target: str, replicas: int, account: dict[str, str], image: str) -> dict[str, Any]:
    container = {
        "name": "scale",
        "image": image,
        "args": ["scale", f"deployment/{target}", f"--replicas={replicas}", f"--namespace={account['namespace']}"],
    }
    pod = {"serviceAccountName": account["name"], "restartPolicy": "OnFailure", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": account["namespace"]},
        "spec": {
            "schedule": schedule,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": {"template": {"spec": pod}}},
        },
    }


def kubernetes_name(text: str, most: int = 52) -> str:
    """Lower-case letters, digits and dashes, at most 52: what a CronJob may be called.

    One that is too long ends in a hash of the whole: what a machine is called ends in how it is bought, and two that differ in
    no more than that must not scale one deployment.
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if len(name) <= most:
        return name
    return f"{name[: most - 7].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def write_manifests(plan: Plan, path: str | Path, namespace: str = "default") -> None:
    """`manifests` as one file for ``kubectl apply -f``: a List in JSON, which is YAML too.

    Raises:
        UsageError: see `manifests`; or the file cannot be written.
    """
    every = {"apiVersion": "v1", "kind": "List", "items": manifests(plan, namespace)}
    try:
        Path(path).write_text(json.dumps(every, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the manifests cannot be written to {path}: {error.strerror or error}") from None
