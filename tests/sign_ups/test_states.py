"""The states of a sign-up: the service does in each what the table says, and the table leaves nothing out."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.sign_ups.support import DAY, MISSING, READY, Pending, begin
from tests.support import Clock, Service, refused
from usermeta.type.v1.sign_up_status_pb2 import SignUpStatus as StatusMessage
from usermeta_server.core.sign_ups.states import TRANSITIONS, Action
from usermeta_server.errors import Reason
from usermeta_server.model import SignUpState, SignUpStatus

CLOSED = {SignUpStatus.COMPLETE, SignUpStatus.REJECTED, SignUpStatus.ABANDONED}


async def _to_missing(service: Service, _: Clock) -> Pending:
    return await begin(service, {})


async def _to_ready(service: Service, _: Clock) -> Pending:
    return await begin(service)


async def _to_complete(service: Service, _: Clock) -> Pending:
    pending = await begin(service)
    await pending.complete()
    return pending


async def _to_rejected(service: Service, _: Clock) -> Pending:
    pending = await begin(service)
    await pending.reject()
    return pending


async def _to_abandoned(service: Service, clock: Clock) -> Pending:
    pending = await begin(service)
    clock.turn(DAY)
    return pending


WAYS: Mapping[SignUpStatus, Callable[[Service, Clock], Awaitable[Pending]]] = {
    SignUpStatus.MISSING_REQUIREMENTS: _to_missing,
    SignUpStatus.READY: _to_ready,
    SignUpStatus.COMPLETE: _to_complete,
    SignUpStatus.REJECTED: _to_rejected,
    SignUpStatus.ABANDONED: _to_abandoned,
}
"""How a sign-up comes to each status."""

DOING: Mapping[Action, Callable[[Pending, Clock], Awaitable[Any]]] = {
    Action.UPDATE: lambda pending, _: pending.attach({"first_name": "Ada"}),
    Action.COMPLETE: lambda pending, _: pending.attest(),
    Action.REJECT: lambda pending, _: pending.reject(),
}
"""How a backend does what it can do: a holder can do no more."""


def test_the_table_says_something_for_every_status_and_action() -> None:
    assert set(TRANSITIONS) == set(SignUpStatus)
    assert all(set(row) == set(Action) for row in TRANSITIONS.values())
    assert {each.value: f"SIGN_UP_STATUS_{each.name}" for each in SignUpStatus} == {
        number: name for name, number in StatusMessage.items() if number
    }


def test_nothing_leads_out_of_a_closed_state() -> None:
    for status in CLOSED:
        states = {after for after in TRANSITIONS[status].values() if isinstance(after, SignUpState)}
        assert states <= {SignUpState(status.name.lower())}


@pytest.mark.parametrize("action", DOING)
@pytest.mark.parametrize("status", SignUpStatus)
async def test_the_service_does_what_the_table_says(
    own_service: Service, clock: Clock, status: SignUpStatus, action: Action
) -> None:
    pending = await WAYS[status](own_service, clock)
    before = await pending.known()
    assert before.status == int(status)
    after = TRANSITIONS[status][action]
    if isinstance(after, Reason):
        refusal = await refused(DOING[action](pending, clock), after.name)
        expected = (
            {"missing_fields": "email_address"} if after is Reason.SIGN_UP_INCOMPLETE else {"status": status.name}
        )
        assert refusal.metadata == expected
        assert await pending.known() == before
        return
    await DOING[action](pending, clock)
    record = await own_service.server.app.store.sign_up(pending.id)
    assert record is not None
    assert record.state is after


@pytest.mark.parametrize("status", SignUpStatus)
async def test_only_what_is_open_is_abandoned(own_service: Service, clock: Clock, status: SignUpStatus) -> None:
    pending = await WAYS[status](own_service, clock)
    clock.turn(DAY)
    await own_service.server.app.use_cases.sign_ups.sweep()
    record = await own_service.server.app.store.sign_up(pending.id)
    assert record is not None
    after = TRANSITIONS[status][Action.ABANDON]
    assert record.state is (SignUpState(status.name.lower()) if isinstance(after, Reason) else after)


async def test_what_is_missing_again_is_not_ready_any_more(service: Service) -> None:
    pending = await begin(service)
    assert pending.first.status == READY
    assert (await pending.update({}, update_mask=FieldMask(paths=["email_address"]))).status == MISSING
    await refused(pending.complete(), "SIGN_UP_INCOMPLETE")
