"""JSON Merge Patch (RFC 7396), between objects: what the Merge verb does to a document."""

from usermeta_server.values import JsonObject


def merge_patch(target: JsonObject, patch: JsonObject) -> JsonObject:
    """Return `target` with `patch` merged into it, as RFC 7396, section 2 says.

    Objects merge at any depth, `null` removes the key, everything else, lists too, replaces.
    A `null` in an object that the patch creates is dropped; one inside a list stays.

    Args:
        target: The document as it is; not changed.
        patch: The members to set, merge or remove; not changed.

    Returns:
        A new object. It shares with both arguments whatever the merge does not touch, so that
        its cost grows with the patch and the objects on its way, not with the document.
    """
    merged = target.copy()
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            member = merged.get(key)
            merged[key] = merge_patch(member if isinstance(member, dict) else {}, value)
        else:
            merged[key] = value
    return merged
