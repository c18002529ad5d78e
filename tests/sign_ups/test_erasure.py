"""What is left of a person once their user is deleted: nothing, in any file."""

from pathlib import Path

from tests.sign_ups.support import begin, email_address
from tests.support import request_id, serving, settings
from usermeta.backend.v1 import backend_service_pb2 as pb


def files_that_hold(folder: Path, mark: str) -> list[str]:
    """Return the names of the files in a folder that hold a text somewhere."""
    return [file.name for file in folder.iterdir() if mark.encode() in file.read_bytes()]


async def test_deleting_the_user_erases_what_its_sign_up_says_of_the_person(tmp_path: Path) -> None:
    marks = {name: email_address() for name in ("email_address", "username", "first_name", "last_name", "external_id")}
    documents = {name: email_address() for name in ("public_metadata", "private_metadata", "unsafe_metadata")}
    async with serving(settings(tmp_path)) as service:
        pending = await begin(service)
        await pending.attach({**marks, **{name: {"a": mark} for name, mark in documents.items()}})
        user_id = (await pending.complete(request_id=request_id())).user.id
        known = await pending.known()
        assert {name: getattr(known, name) for name in marks} == marks
        assert all(files_that_hold(tmp_path, mark) for mark in (*marks.values(), *documents.values()))
        await service.admin.DeleteUser(pb.DeleteUserRequest(user_id=user_id))
        known = await pending.known()
        assert {name: getattr(known, name) for name in marks} == dict.fromkeys(marks, "")
    assert files_that_hold(tmp_path, pending.id) == ["usermeta.db"]
    for mark in (*marks.values(), *documents.values()):
        assert not files_that_hold(tmp_path, mark)


async def test_a_closed_sign_up_leaves_no_documents_in_the_file(tmp_path: Path) -> None:
    mark = email_address()
    async with serving(settings(tmp_path)) as service:
        pending = await begin(service, {"unsafe_metadata": {"a": mark}})
        await pending.reject()
    assert files_that_hold(tmp_path, pending.id)
    assert not files_that_hold(tmp_path, mark)
