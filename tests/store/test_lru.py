"""The least-recently-used map: what it keeps, and what it drops."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from usermeta_server.lru import LruMap


def test_it_returns_what_was_put() -> None:
    """A key has the value that was put last, until it is dropped."""
    kept: LruMap[str, int] = LruMap(10)
    kept.put("a", 1, 1)
    kept.put("a", 2, 1)
    assert (kept.get("a"), kept.get("b"), len(kept)) == (2, None, 1)
    kept.pop("a")
    kept.pop("a")
    assert (kept.get("a"), len(kept)) == (None, 0)


def test_it_drops_what_was_not_used_for_longest() -> None:
    """Reading counts as use, putting again too."""
    kept: LruMap[str, int] = LruMap(3)
    for key in "abc":
        kept.put(key, 1, 1)
    kept.get("a")
    kept.put("b", 2, 1)
    kept.put("d", 1, 1)
    assert [kept.get(key) for key in "abcd"] == [1, 2, None, 1]


def test_it_drops_as_many_as_the_weight_asks_for() -> None:
    """A heavy value takes the place of several light ones."""
    kept: LruMap[str, int] = LruMap(10)
    for key in "abcde":
        kept.put(key, 1, 2)
    kept.put("heavy", 1, 5)
    assert [kept.get(key) for key in ("a", "b", "c", "d", "e", "heavy")] == [None, None, None, 1, 1, 1]


def test_another_weight_replaces_the_old_one() -> None:
    """The weight of a key is that which it was put with last."""
    kept: LruMap[str, int] = LruMap(10)
    kept.put("a", 1, 9)
    kept.put("a", 1, 1)
    kept.put("b", 1, 9)
    assert len(kept) == 2


def test_without_room_nothing_is_kept() -> None:
    """A limit of 0 turns it off, and a value heavier than the limit is not kept."""
    for limit in (0, 4):
        kept: LruMap[str, int] = LruMap(limit)
        kept.put("a", 1, 5)
        assert (kept.get("a"), len(kept)) == (None, 0)


@given(st.lists(st.tuples(st.sampled_from(["put", "get", "pop"]), st.integers(0, 5), st.integers(1, 4))))
def test_it_is_as_a_plain_model(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is done to it, it holds what a list in order of use would, cut to the limit from its old end."""
    kept: LruMap[int, int] = LruMap(8)
    model: OrderedDict[int, int] = OrderedDict()
    for step, (action, key, weight) in enumerate(steps):
        if action == "put":
            kept.put(key, step, weight)
            model.pop(key, None)
            model[key] = step * 10 + weight
            while sum(each % 10 for each in model.values()) > 8:
                model.popitem(last=False)
        elif action == "get":
            expected = model.get(key)
            assert kept.get(key) == (None if expected is None else expected // 10)
            if expected is not None:
                model.move_to_end(key)
        else:
            kept.pop(key)
            model.pop(key, None)
        assert len(kept) == len(model)
