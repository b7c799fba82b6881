"""The requests of the provider `aws` as an independent implementation of EC2's API reads them.

moto ignores client tokens and has no capacity, quotas or lag: those are the fake cloud's."""

import time

import pytest
import rigs

from cloudbandit.core.rented import Fate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def moto(tmp_path, monkeypatch):
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with rigs.rig("aws", tmp_path, monkeypatch) as rig:  # its prices and credentials alone
        yield rig.provider(
            endpoint_url=f"http://{host}:{port}", image="ami-12c6146b", everywhere=["us-east-1", "us-west-2"]
        )
    server.stop()


def test_moto_reads_what_we_send_and_we_read_what_it_says(moto):
    on_demand, spot = [o for o in moto.offers() if o.instance_type == rigs.TYPES["aws"]]
    ec2 = moto._client("ec2", "us-east-1")
    theirs = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    receipts = [
        moto.launch(o, run="r", key=f"cb-s-{o.purchase}-0", expires=time.time() + 600) for o in (on_demand, spot)
    ]
    found = {one.id: one for one in moto.rented("r")}
    assert {receipt.id for receipt in receipts} <= set(found)
    assert {one.key for one in found.values()} == {receipt.key for receipt in receipts}
    assert {one.what for one in found.values() if one.kind == "machine"} == {rigs.TYPES["aws"]}
    one = ec2.describe_instances(InstanceIds=[receipts[0].id])["Reservations"][0]["Instances"][0]
    told = ec2.describe_instance_attribute(InstanceId=one["InstanceId"], Attribute="instanceInitiatedShutdownBehavior")
    assert told["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    assert one["SecurityGroups"][0]["GroupName"] == "cloudbandit-ssh"
    rules = ec2.describe_security_groups(GroupNames=["cloudbandit-ssh"])["SecurityGroups"][0]["IpPermissions"]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in rules] == [(22, 22)], "SSH alone is open"
    assert (
        ec2.describe_volumes(VolumeIds=[one["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]])["Volumes"][0]["Size"] == 100
    )
    for receipt in receipts:
        until = time.monotonic() + 20
        while moto.destroy(receipt.key) is not Fate.GONE:
            assert time.monotonic() < until
    assert moto.rented() == []
    left = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])["Reservations"]
    assert [i["InstanceId"] for r in left for i in r["Instances"]] == [theirs]


def test_what_is_sold_where_is_asked(moto):
    told = moto.available(moto.offers())
    assert {told[o.label][0] for o in moto.offers() if o.instance_type == "not-sold"} == {"no"}
    assert {told[o.label][0] for o in moto.offers() if o.instance_type == rigs.TYPES["aws"]} == {"unknown"}
