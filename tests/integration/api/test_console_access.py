"""Who gets into the console, and what is refused at its door: by HTTP, as an attacker would."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import httpx
import pytest

from services.api.console import attempts, sessions
from services.api.console.guarding import COOKIE, LOGIN, local
from services.api.console.live import STREAMS_MOST
from services.cli.keys import Role, create_key, revoke_key
from tests.api import Api
from tests.driving import execute, rows, scalar
from tests.waiting import eventually

HTML = {"Accept": "text/html"}
PAGES = (
    "",
    "leads",
    "leads/none",
    "unassigned",
    "fairness",
    "routes",
    "agents",
    "sheets",
    "deadletters",
    "deadletters/letters",
    "imports",
    "exports",
    "exports/leads.csv",
    "keys",
    "live/now",
    "live/counts",
    "live/imports",
)
ACTS = (
    "unassigned",
    "agents/1",
    "routes/none",
    "sheets",
    "imports",
    "deadletters/1",
    "deadletters/replays",
    "deadletters/discarded",
    "deadletters/undone",
    "leads/none/closed",
    "keys",
    "keys/revoked",
    "logout",
)


@asynccontextmanager
async def visitor(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that nobody is logged in with."""
    async with httpx.AsyncClient(base_url=f"{api.url}/console/", headers=HTML, timeout=30) as client:
        yield client


@asynccontextmanager
async def logged_in(api: Api, role: Role = Role.ADMIN) -> AsyncIterator[httpx.AsyncClient]:
    """A browser of somebody with this role."""
    key = (await create_key(api.database, name=f"the {role.value}", role=role, actor="test")).key
    async with visitor(api) as client:
        assert (await client.post("login", data={"key": key})).status_code == 303
        yield client


async def csrf_in(client: httpx.AsyncClient) -> str:
    found = re.search(r'data-csrf="(\w+)"', (await client.get("exports")).text)
    assert found is not None
    return found[1]


async def test_without_a_session_no_page_is_shown(alone: Api) -> None:
    """People are sent to the login, and from there to where they wanted; what asks for no page gets 401."""
    async with visitor(alone) as client:
        for path in PAGES:
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, LOGIN), path
            assert (await client.get(path, headers={"Accept": "text/event-stream"})).status_code == 401, path


async def test_without_a_session_nothing_is_done(alone: Api) -> None:
    async with visitor(alone) as client:
        for path in ACTS:
            assert (await client.post(path, data={"csrf": "0" * 64})).status_code == 401, path


async def test_a_forged_cookie_is_nobodys(alone: Api) -> None:
    """Neither an invented token nor what the database keeps of a true one."""
    async with logged_in(alone) as client:
        digest: bytes = await scalar(alone.database, "SELECT token_sha256 FROM console_sessions")
        for forged in ("x", "0" * 43, digest.hex(), f"{client.cookies[COOKIE]}x"):
            answer = await client.get("exports", headers={"Cookie": f"{COOKIE}={forged}"})
            assert answer.status_code in {303, 200}
            async with visitor(alone) as other:
                other.cookies.set(COOKIE, forged)
                assert (await other.get("exports")).status_code == 303


async def test_the_key_itself_opens_no_page(alone: Api) -> None:
    """A page is reached by a session alone: no other site can have a browser send one."""
    async with visitor(alone) as client:
        answer = await client.get("exports", headers={"Authorization": f"Bearer {alone.key}"})

        assert answer.status_code == 303


async def test_the_cookie_is_the_browsers_alone(alone: Api) -> None:
    async with visitor(alone) as client:
        answer = await client.post("login", data={"key": alone.key})

        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=lax" in answer.headers["set-cookie"]
        token = client.cookies[COOKIE]
        assert not await rows(
            alone.database, "SELECT 1 FROM console_sessions WHERE token_sha256 = :t", t=token.encode()
        )


async def test_a_form_without_the_sessions_token_is_refused(alone: Api) -> None:
    forms: list[dict[str, str]] = [{}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "ü"}]
    async with logged_in(alone) as client:
        for path in ACTS:
            for data in forms:
                assert (await client.post(path, data=data)).status_code == 403, path
            assert (await client.post(path, headers={"X-CSRF-Token": "0" * 64})).status_code == 403, path


async def test_a_token_of_another_session_is_refused(alone: Api) -> None:
    async with logged_in(alone) as one, logged_in(alone, Role.OPERATOR) as other:
        answer = await one.post("logout", data={"csrf": await csrf_in(other)})

        assert answer.status_code == 403
        assert (await one.get("exports")).status_code == 200


async def test_a_form_from_another_site_is_refused(alone: Api) -> None:
    """Also the login, which has no token yet, and even with the right token."""
    async with logged_in(alone) as client:
        token = await csrf_in(client)
        for name, value in (
            ("Origin", "https://evil.example.com"),
            ("Origin", "null"),
            ("Sec-Fetch-Site", "cross-site"),
        ):
            said = {name: value}
            assert (await client.post("logout", data={"csrf": token}, headers=said)).status_code == 403
            assert (await client.post("login", data={"key": alone.key}, headers=said)).status_code == 403


async def test_after_ten_wrong_keys_an_address_waits(alone: Api) -> None:
    """The right one does not get in either, until the wait is over; trying on does not make it longer."""
    async with visitor(alone) as client:
        for _ in range(attempts.ADDRESS_MOST):
            assert (await client.post("login", data={"key": "ll_wrong"})).status_code == 401
        for _ in range(3):
            assert (await client.post("login", data={"key": alone.key})).status_code == 429

        assert await scalar(alone.database, "SELECT count(*) FROM login_attempts") == attempts.ADDRESS_MOST
        await execute(alone.database, "UPDATE login_attempts SET at = at - interval '11 minutes'")
        assert (await client.post("login", data={"key": alone.key})).status_code == 303


async def test_wrong_keys_from_everywhere_shut_out_who_is_not_known(alone: Api) -> None:
    """Who has a session at that address may go on."""
    many = "INSERT INTO login_attempts (address) SELECT '192.0.2.' || n FROM generate_series(1, :most) AS n"
    await execute(alone.database, many, most=attempts.ALL_MOST)
    async with visitor(alone) as client:
        assert (await client.post("login", data={"key": alone.key})).status_code == 429
        await sessions.begin(alone.database, alone.key, "127.0.0.1")
        assert (await client.post("login", data={"key": alone.key})).status_code == 303


async def test_a_session_ends_with_its_key(alone: Api) -> None:
    async with logged_in(alone) as client:
        assert (await client.get("exports")).status_code == 200
        await revoke_key(alone.database, "the admin")

        assert (await client.get("exports")).status_code == 303


async def test_a_session_ends_by_itself(alone: Api) -> None:
    """Not used for four hours, or twelve after it began."""
    for column in ("seen_at", "created_at"):
        async with visitor(alone) as client:
            await client.post("login", data={"key": alone.key})
            assert (await client.get("exports")).status_code == 200
            await execute(alone.database, f"UPDATE console_sessions SET {column} = now() - interval '13 hours'")

            assert (await client.get("exports")).status_code == 303


async def test_logging_out_ends_the_session_for_whoever_has_its_cookie(alone: Api) -> None:
    async with logged_in(alone) as client, visitor(alone) as thief:
        thief.cookies.set(COOKIE, client.cookies[COOKIE])
        assert (await thief.get("exports")).status_code == 200
        assert (await client.post("logout", data={"csrf": await csrf_in(client)})).status_code == 303

        assert (await thief.get("exports")).status_code == 303


@pytest.mark.parametrize("path", [path for path in ACTS if path != "logout"])
async def test_a_viewer_does_nothing(alone: Api, path: str) -> None:
    async with logged_in(alone, Role.VIEWER) as client:
        fields = {
            "csrf": await csrf_in(client),
            "ids": "1",
            "reason": "lost",
            "body": "{}",
            "version": "x",
            "name": "x",
        }
        answer = await client.post(path, data=fields | {"hint": "x"}, files={"file": ("x.csv", b"x")})

        assert answer.status_code == 403


async def test_keys_are_the_admins(alone: Api) -> None:
    async with logged_in(alone, Role.OPERATOR) as client:
        assert (await client.get("keys")).status_code == 403
        assert "/console/keys" not in (await client.get("exports")).text


async def test_every_page_forbids_what_is_not_ours(alone: Api) -> None:
    """No script in a page, nothing from elsewhere, in no frame of another's, kept by nobody."""
    async with logged_in(alone) as client:
        for path in (path for path in PAGES if not path.startswith("live") and not path.endswith(".csv")):
            answer = await client.get(path)

            policy = answer.headers["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert not re.search(r"<script(?! src)| style=| on\w+=|https?://", answer.text), path


async def test_no_path_leads_out(alone: Api) -> None:
    paths = (
        "assets/../sessions.py",
        "assets/%2e%2e/sessions.py",
        "sheets/..%2f..%2fetc%2fpasswd/pdf",
        "imports/..%2f1/rejected",
    )
    async with logged_in(alone) as client:
        for path in paths:
            assert (await client.get(path)).status_code in {404, 422}, path


async def test_nobody_is_sent_elsewhere_after_the_login(alone: Api) -> None:
    paths = (
        "//evil.example.com",
        "https://evil.example.com",
        "/console//x\\y",
        "/elsewhere",
        "javascript:x",
        "/console/\r\nx",
    )
    async with visitor(alone) as client:
        for path in paths:
            answer = await client.post("login", data={"key": alone.key, "next": path})

            assert answer.headers["location"] == "/console/", path
        assert local("/console/leads?q=a%20b") == "/console/leads?q=a%20b"


async def test_sql_in_filters_is_text(alone: Api) -> None:
    async with logged_in(alone) as client:
        for field in ("q", "source", "route", "agent"):
            answer = await client.get("leads", params={field: "x' OR '1'='1'; DROP TABLE leads; --"})
            assert answer.status_code == 200
            assert "No lead is like that" in answer.text
        assert (await client.get("leads", params={"status": "x' OR 1=1"})).status_code == 422
    assert await scalar(alone.database, "SELECT count(*) FROM leads") == 0


async def test_a_session_has_so_many_streams(alone: Api) -> None:
    """One more is refused, with what to do; when one has ended there is room, and others are not held to it."""
    async with logged_in(alone) as client, logged_in(alone, Role.VIEWER) as other, AsyncExitStack() as stack:
        for _ in range(STREAMS_MOST - 1):
            assert (await stack.enter_async_context(live(client))).status_code == 200
        async with live(client) as last:
            assert last.status_code == 200
            refused = await eventually(lambda: refusal(client), within=10)
            assert refused.headers["retry-after"] == "15"
            assert "12 pages live already: close some" in refused.json()["detail"]
            assert await refusal(other) is None

        async def is_let_in() -> bool:
            return await refusal(client) is None

        await eventually(is_let_in, within=10)


def live(client: httpx.AsyncClient) -> AbstractAsyncContextManager[httpx.Response]:
    return client.stream("GET", "live/counts", headers={"Accept": "application/json"})


async def refusal(client: httpx.AsyncClient) -> httpx.Response | None:
    """How one more stream is refused; None if it is given."""
    async with live(client) as stream:
        if stream.status_code == 200:
            return None
        assert stream.status_code == 429
        await stream.aread()
        return stream
