"""What is no filter, no order or no path: refused by name, with the position of the first wrong character."""

from typing import Final

import pytest

from tests.search.support import listing
from tests.support import Service, refused
from usermeta.backend.v1 import backend_service_pb2 as pb

FILTERS: Final = [
    ("public_metadata.plan =", 23),
    ("= pro", 1),
    ("public_metadata.plan = (a OR b)", 24),
    ("nothing = 1", 1),
    ("banned = true AND nobody = 1", 19),
    ("banned = 1", 10),
    ("create_time > 5", 15),
    ('create_time > "yesterday"', 15),
    ("create_time > 2020-01-01T00:00:00Z", None),
    ("cohort(public_metadata.plan)", 1),
    ("(banned = true", 15),
    ('username = "ada', 12),
    ("banned = true AND", 18),
    ("é = 1", None),
]


@pytest.mark.parametrize(("text", "position"), FILTERS)
async def test_a_filter_that_is_none_names_the_position(service: Service, text: str, position: int | None) -> None:
    for call in (
        service.admin.ListUsers(listing(filter=text)),
        service.admin.CountUsers(pb.CountUsersRequest(filter=text)),
    ):
        refusal = await refused(call, "FILTER_INVALID")
        assert refusal.fields == ("filter",)
        found = int(refusal.metadata["position"])
        assert 1 <= found <= len(text) + 1
        assert position in (None, found), refusal.message


ORDERS: Final = [
    ("nothing", 1),
    ("public_metadata", 1),
    ("username up", 10),
    ("username,", 10),
    ("username desc, username", 16),
    ("username; id", 9),
    (", id", 1),
]


@pytest.mark.parametrize(("text", "position"), ORDERS)
async def test_an_order_that_is_none_names_the_position(service: Service, text: str, position: int) -> None:
    refusal = await refused(service.admin.ListUsers(listing(order_by=text)), "ORDER_INVALID")
    assert refusal.fields == ("order_by",)
    assert int(refusal.metadata["position"]) == position, refusal.message


@pytest.mark.parametrize(
    "path", ["", "username", "public_metadata", "nothing.a", "public_metadata.", "public_metadata.a b", "a = 1"]
)
async def test_what_is_no_path_in_a_document_is_not_indexed(service: Service, path: str) -> None:
    for call in (
        service.admin.CreateMetadataIndex(pb.CreateMetadataIndexRequest(path=path)),
        service.admin.DeleteMetadataIndex(pb.DeleteMetadataIndexRequest(path=path)),
    ):
        assert (await refused(call, "FIELD_INVALID")).fields == ("path",)


@pytest.mark.parametrize("text", ["a" * 4097, "(" * 2000, "a AND " * 600 + "a", "-" * 4000])
async def test_a_monstrous_filter_is_answered(service: Service, text: str) -> None:
    """Long, deep and wide ones are refused or evaluated: never an error of the server's own."""
    refusal = await refused(service.admin.ListUsers(listing(filter=text)))
    assert refusal.reason == "FILTER_INVALID", refusal
