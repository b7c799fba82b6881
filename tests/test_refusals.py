"""What clouds' errors are to us: unknown is never capacity, a quota is not cured by resting, throttling is tried again."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbandit.core.errors import CredentialsError, HostInterrupted, HostLost, NoCapacity, OfferBarred, ProviderError
from cloudbandit.core.rented import run_tag
from cloudbandit.providers import aws, azure_errors, gcp_errors
from cloudbandit.providers.refusals import Kind, refusal

TABLES = [aws.ERRORS, gcp_errors.OF_OPERATION, azure_errors.ERRORS]


@given(st.text(st.characters(codec="ascii"), max_size=30), st.integers(400, 599))
def test_a_code_that_nobody_has_looked_up_is_never_capacity_or_a_quota(code, status):
    kinds = [aws.kind_of(code, status), azure_errors.kind_of(code, status), gcp_errors.kind_of(status, [code])]
    if not any(code in table for table in TABLES):
        assert not {Kind.CAPACITY, Kind.QUOTA, Kind.NOT_SOLD} & set(kinds)
    assert type(refusal(Kind.UNKNOWN, code, "x")) is ProviderError


@pytest.mark.parametrize(
    ("kind", "error", "again"),
    [
        (aws.kind_of("Server.InsufficientInstanceCapacity", 500), NoCapacity, None),
        (aws.kind_of("VcpuLimitExceeded", 400), OfferBarred, None),
        (aws.kind_of("RequestExpired", 400), CredentialsError, False),  # clocks that differ
        (aws.kind_of("InvalidAMIID.NotFound", 400), ProviderError, False),
        (aws.kind_of("", 503), ProviderError, True),
        (gcp_errors.kind_of(403, ["quotaExceeded"]), OfferBarred, None),
        (gcp_errors.kind_of(403, ["forbidden"]), CredentialsError, False),
        (gcp_errors.kind_of(429, []), ProviderError, True),
        (azure_errors.kind_of("SkuNotAvailable", 409), NoCapacity, None),
        (azure_errors.kind_of("OperationNotAllowed", 409), OfferBarred, None),
        (azure_errors.kind_of("InvalidParameter", 400, "... for the VM size is not valid"), OfferBarred, None),
        (azure_errors.kind_of("AuthorizationFailed", 403), CredentialsError, False),
        (azure_errors.kind_of("Surprise", 409), ProviderError, False),
    ],
)
def test_codes_are_what_the_tables_say(kind, error, again):
    made = refusal(kind, "Code", "text")
    assert type(made) is error
    assert getattr(made, "again", None) is again


@pytest.mark.parametrize(
    "error",
    [
        NoCapacity("A", "b: c"),
        OfferBarred("A", "b"),
        HostLost("gone"),
        HostInterrupted("taken"),
        ProviderError("A", "b", again=True),
        CredentialsError("A", "b"),
    ],
)
def test_errors_travel_between_processes_as_they_are(error):
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.code) == (type(error), str(error), error.code)
    assert getattr(back, "again", None) == getattr(error, "again", None)


@given(st.text(max_size=80), st.text(max_size=80))
def test_a_runs_tag_is_one_that_every_cloud_takes_and_tells_runs_apart(one, other):
    tag = run_tag(one)
    assert len(tag) <= 63
    assert tag == run_tag(one)
    assert set(tag) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert tag[0].isalpha()
    assert not tag.endswith("-")
    assert (tag == run_tag(other)) == (one == other)
