"""The file that names trusted issuers: what it means, and how its mistakes are told."""

from pathlib import Path

import pytest

from usermeta_server.auth.issuers import ALGORITHMS, Issuer, load_issuers
from usermeta_server.errors import OperatorError

FIRST = {
    "issuer": "https://a.example.com",
    "audience": "app",
    "algorithm": "RS256",
    "jwks": "https://a.example.com/keys",
}
SECOND = {**FIRST, "issuer": "https://b.example.com", "prefix": "b|"}


def toml(*tables: dict[str, str]) -> str:
    """Return a file of these tables."""
    lines = [line for table in tables for line in ("[[issuer]]", *(f"{key} = '{table[key]}'" for key in table))]
    return "\n".join(lines)


def without(key: str) -> dict[str, str]:
    """Return the first table without a key."""
    return {name: value for name, value in FIRST.items() if name != key}


def refusal(path: Path) -> str:
    """Return what an operator is told about a file."""
    with pytest.raises(OperatorError) as caught:
        load_issuers(path)
    return str(caught.value)


def test_a_table_says_what_an_issuer_is(tmp_path: Path) -> None:
    """Four keys are needed, the others have defaults; a key file is found beside the file that names it."""
    path = tmp_path / "issuers.toml"
    (tmp_path / "keys.json").write_text('{"keys": []}')
    full = {
        **SECOND,
        "jwks": "keys.json",
        "algorithm": "EdDSA",
        "subject_claim": "uid",
        "verified_claim": "mail_ok",
        "email_claim": "mail",
    }
    path.write_text(toml({**FIRST, "prefix": "a|"}, full))
    assert load_issuers(path) == (
        Issuer("https://a.example.com", "app", "RS256", "https://a.example.com/keys", prefix="a|"),
        Issuer(
            "https://b.example.com", "app", "EdDSA", tmp_path / "keys.json", "uid", "b|", "mail_ok", email_claim="mail"
        ),
    )


@pytest.mark.parametrize(
    ("party", "expected"), [("'https://a'", ("https://a",)), ("['https://a', 'b']", ("https://a", "b"))]
)
def test_an_issuer_may_name_the_authorized_party_in_place_of_an_audience(
    party: str, expected: tuple[str, ...], tmp_path: Path
) -> None:
    """A string or a list, with an audience or without; leeway and age of keys are settings of the issuer, too."""
    path = tmp_path / "issuers.toml"
    more = f"\nauthorized_party = {party}\nleeway = 0\nmax_age = 3600"
    path.write_text(toml(without("audience")) + more)
    (issuer,) = load_issuers(path)
    assert (issuer.audience, issuer.authorized_party, issuer.leeway, issuer.max_age) == (None, expected, 0, 3600)
    path.write_text(toml(FIRST) + more)
    assert load_issuers(path)[0].audience == "app"
    path.write_text(toml(FIRST))
    (issuer,) = load_issuers(path)
    assert (issuer.authorized_party, issuer.leeway, issuer.max_age) == ((), 10, 600)


def test_one_issuer_needs_no_prefix(tmp_path: Path) -> None:
    """The external id of a lone issuer's user is the subject itself."""
    path = tmp_path / "issuers.toml"
    path.write_text(toml(FIRST))
    (issuer,) = load_issuers(path)
    assert (issuer.prefix, issuer.subject_claim, issuer.verified_claim) == ("", "sub", "email_verified")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_asymmetric_algorithms(algorithm: str, tmp_path: Path) -> None:
    """Every algorithm of the list may be pinned."""
    path = tmp_path / "issuers.toml"
    path.write_text(toml({**FIRST, "algorithm": algorithm}))
    assert load_issuers(path)[0].algorithm == algorithm


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "127.8.9.1", "[::1]:80"])
def test_plain_http_to_this_host(host: str, tmp_path: Path) -> None:
    """Keys may come over plain http from this very host, for development."""
    path = tmp_path / "issuers.toml"
    path.write_text(toml({**FIRST, "jwks": f"http://{host}/keys"}))
    assert load_issuers(path)[0].jwks == f"http://{host}/keys"


MISTAKES: list[tuple[str, str]] = [
    (toml(without("audience")), "[[issuer]] 1: audience: is missing, and so is authorized_party"),
    (toml(without("audience")) + "\nauthorized_party = []", "[[issuer]] 1: authorized_party: []: must name one"),
    (toml(FIRST) + "\nauthorized_party = ['']", "[[issuer]] 1: authorized_party: '': must be a string"),
    (toml(FIRST) + "\nauthorized_party = ['a', 1]", "[[issuer]] 1: authorized_party: 1: must be a string"),
    *(
        (f"{toml(FIRST)}\n{key} = {value}", f"[[issuer]] 1: {key}: {told}: must be a whole number of seconds between")
        for key, value, told in [
            ("leeway", "-1", "-1"),
            ("leeway", "301", "301"),
            ("leeway", "true", "True"),
            ("leeway", "1.5", "1.5"),
            ("leeway", "'10'", "'10'"),
            ("max_age", "59", "59"),
            ("max_age", "86401", "86401"),
        ]
    ),
    ("", "needs one [[issuer]] table or more"),
    ("issuer = []", "needs one [[issuer]] table or more"),
    ("[issuer]\naudience = 'a'", "needs one [[issuer]] table or more"),
    ("issuer = [1]", "[[issuer]] 1: must be a table"),
    ("issuers = 1", "'issuers': there are only [[issuer]] tables here"),
    ("[[issuer]", "line 1"),
    (toml({**FIRST, "audiences": "x"}), "[[issuer]] 1: audiences: is no key of an issuer"),
    (toml({**FIRST, '"a\\nb"': "x"}), "[[issuer]] 1: 'a\\nb': is no key of an issuer"),
    *((toml(without(key)), f"[[issuer]] 1: {key}: is missing") for key in FIRST),
    *((toml({**FIRST, key: ""}), f"[[issuer]] 1: {key}: ''") for key in (*FIRST, "subject_claim", "email_claim")),
    (toml(without("audience")) + "\naudience = 7", "[[issuer]] 1: audience: 7: must be a string"),
    (toml(without("audience")) + "\naudience = ['a']", "[[issuer]] 1: audience: ['a']: must be a string"),
    (toml(without("algorithm")) + "\nalgorithm = ['RS256']", "[[issuer]] 1: algorithm: ['RS256']: must be one of"),
    (toml({**FIRST, "prefix": "\t"}), "[[issuer]] 1: prefix: '\\t': must not hold control characters"),
    (toml({**FIRST, "prefix": " a"}), "[[issuer]] 1: prefix: ' a': must not hold control characters"),
    (toml({**FIRST, "prefix": "é" * 65}), "[[issuer]] 1: prefix: has 130 bytes; 128 are allowed"),
    (toml(FIRST) + "\nprefix = 1", "[[issuer]] 1: prefix: 1: must be a string"),
    *(
        (toml({**FIRST, "algorithm": bad}), f"[[issuer]] 1: algorithm: '{bad}': must be one of RS256, ")
        for bad in ("none", "HS256", "HS512", "rs256", "ES256K", "RSA-OAEP")
    ),
    (toml({**FIRST, "issuer": "usermeta"}), "[[issuer]] 1: issuer: 'usermeta': is the built-in issuer"),
    (toml(FIRST, {**SECOND, "issuer": FIRST["issuer"]}), "[[issuer]] 2: issuer: 'https://a.example.com' has a table"),
    (toml(FIRST, {**SECOND, "prefix": ""}), "[[issuer]] 2: prefix: '' begins with ''"),
    (toml(FIRST, SECOND), "[[issuer]] 2: prefix: 'b|' begins with ''"),
    (toml(SECOND, FIRST), "[[issuer]] 1: prefix: 'b|' begins with ''"),
    (toml({**FIRST, "prefix": "b|"}, SECOND), "[[issuer]] 2: prefix: 'b|' begins with 'b|'"),
    (toml({**FIRST, "prefix": "b"}, SECOND), "[[issuer]] 2: prefix: 'b|' begins with 'b'"),
    (toml({**FIRST, "prefix": "b|c"}, SECOND), "[[issuer]] 1: prefix: 'b|c' begins with 'b|'"),
    *(
        (toml({**FIRST, "jwks": bad}), f"[[issuer]] 1: jwks: '{bad}': must be an https URL")
        for bad in (
            "http://a.example.com/keys",
            "http://192.168.0.1/keys",
            "http://localhost.example.com/keys",
            "ftp://a.example.com/keys",
            "file://localhost/etc/passwd",
        )
    ),
    *(
        (toml({**FIRST, "jwks": bad}), f"[[issuer]] 1: jwks: '{bad}': must be the URL of a host")
        for bad in ("https://", "file:///etc/passwd", "https://u:p@a.example.com/", "https://a.example.com/a b")
    ),
    (toml({**FIRST, "jwks": "https://a.example.com:99999/"}), "[[issuer]] 1: jwks: 'https://a.example.com:99999/': "),
    (toml({**FIRST, "jwks": "https://[a.example.com/"}), "[[issuer]] 1: jwks: 'https://[a.example.com/': "),
    (toml({**FIRST, "jwks": "none.json"}), "[[issuer]] 1: jwks: there is no file to read at "),
    (toml({**FIRST, "jwks": "."}), "[[issuer]] 1: jwks: there is no file to read at "),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_mistakes(text: str, told: str, tmp_path: Path) -> None:
    """A mistake is told in one line that names the file, the table and the key."""
    path = tmp_path / "issuers.toml"
    path.write_text(text, encoding="utf-8")
    line = refusal(path)
    assert line.startswith(f"{path}: ")
    assert told in line
    assert line.isprintable()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there, or is no UTF-8, is told by its path."""
    path = tmp_path / "issuers.toml"
    assert refusal(path) == f"cannot read {path}: No such file or directory"
    path.write_bytes(b"\xff")
    assert refusal(path).startswith(f"{path}: 'utf-8' codec")
