"""Somebody who uses sulku from outside: signs in, calls the API, enters a tunnel through the gateway, runs code in it."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import httpx2

from broker.settings import Settings
from sulku import ids

PATIENCE: Final = 60.0  # seconds for which somebody asks again of whom a part of ours has no time


def patiently(do: Callable[[], Any], seconds: float = 90, again: Callable[[Exception], bool] = lambda _: True) -> Any:
    """Return what ``do`` gives, tried once more a second later while ``again`` holds of what it raised."""
    until = time.monotonic() + seconds
    while True:
        try:
            return do()
        except (AssertionError, RefusedByApi, OSError, ValueError, httpx2.HTTPError) as error:
            if time.monotonic() > until or not again(error):
                raise
        time.sleep(1)


def _answered(ask: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Return an answer; while it is that nobody has time (503), and so did nothing, it is asked for again, as its Retry-After says."""
    until = time.monotonic() + PATIENCE
    while (answer := ask()).status_code == 503 and time.monotonic() < until:
        time.sleep(0.5)
    return answer


def _keyed(method: str, headers: dict[str, str]) -> dict[str, str]:
    """Return ``headers`` with a key if something is to change, so that it happens once, however often it is asked for."""
    return {"Idempotency-Key": uuid.uuid4().hex, **headers} if method == "POST" else headers


class RefusedByApi(Exception):
    """The API said no, with the problem that it gave."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(f"{problem.get('code')}: {problem.get('detail')}")
        self.problem = problem
        self.code = str(problem.get("code"))


def here(_: str) -> str:
    """Return the address of every name of an installation on this machine."""
    return "127.0.0.1"


class Named(httpx2.HTTPTransport):
    """Finds the names of an installation by a function of our own, as nobody publishes them; Host headers and cookies stay."""

    def __init__(self, resolve: Callable[[str], str], trust: ssl.SSLContext | None = None) -> None:
        super().__init__(verify=trust or True)
        self._resolve = resolve

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        where = request.url.copy_with(host=self._resolve(request.url.host))
        more = {**request.extensions, "sni_hostname": request.url.host}
        return super().handle_request(httpx2.Request(request.method, where, headers=request.headers, stream=request.stream, extensions=more))


class Person:
    """One signed-in person: ``api`` by a token from the device flow, ``web`` by a browser's cookies."""

    def __init__(
        self, settings: Settings, email: str, role: str | None = None, resolve: Callable[[str], str] = here, trust: ssl.SSLContext | None = None
    ) -> None:
        self.settings, self.email, self.resolve, self.trust = settings, email, resolve, trust
        self.web = httpx2.Client(transport=Named(resolve, trust), follow_redirects=True, timeout=60)
        self._api = httpx2.Client(transport=Named(resolve, trust), base_url=f"{settings.url}/api/v1", timeout=90)
        self._api.headers["Authorization"] = f"Bearer {self._token()}"
        if role:
            self._api.headers["Sulku-Role"] = role
        self.me = self.get("/me")
        self.id = str(self.me["id"])

    def close(self) -> None:
        """Close both clients."""
        self.web.close()
        self._api.close()

    def _token(self) -> str:
        """Sign in by the device flow, choosing the button of this person."""
        issuer, client = self.settings.issuer, self.settings.cli_client_id
        asked = self.web.post(f"{issuer}/device_authorization", data={"client_id": client}).json()
        self._choose(asked["verification_uri_complete"], f"{issuer}/device")
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": asked["device_code"], "client_id": client}
        return str(self.web.post(f"{issuer}/token", data=form).json()["access_token"])

    def _choose(self, page: str, action: str) -> httpx2.Response:
        text = self.web.get(page).text
        return self._press(text, action)

    def _press(self, text: str, action: str) -> httpx2.Response:
        sub = next(value for value, name in re.findall(r'name="sub" value="([^"]+)"><strong>([^<]+)<', text) if self._is_me(value, name))
        hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', text))
        kept = {name: value.replace("&amp;", "&") for name, value in hidden.items()}
        return self.web.post(action, data={**kept, "sub": sub}, headers={"Origin": self.settings.issuer})

    def _is_me(self, _: str, name: str) -> bool:
        return name.split(maxsplit=1)[0].lower() == self.email.split("@")[0]

    def sign_in(self) -> None:
        """Sign in at the pages, as a browser does."""
        found = self.web.get(f"{self.settings.url}/sign-in")
        found = self._press(found.text, f"{self.settings.issuer}/authorize")
        assert str(found.url).startswith(self.settings.url), found.url

    # --- the API ------------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """Call the API and return the response.

        Raises:
            RefusedByApi: It answered with a problem.
        """
        headers = _keyed(method, headers)
        answer = _answered(lambda: self._api.request(method, path, json=body, headers=headers))
        if answer.status_code >= 400:
            raise RefusedByApi(answer.json())
        return answer

    def get(self, path: str) -> Any:
        """Return a record, or the items of a listing."""
        found = self.call("GET", path).json()
        return found["items"] if isinstance(found, dict) and set(found) == {"items", "count"} else found

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """Change something and return the record as it stands."""
        found = self.call("POST", path, body, **headers).json()
        return found["record"] if isinstance(found, dict) and "record" in found else found

    def wait(self, path: str, field: str, *wanted: str, seconds: float = 60) -> Any:
        """Return the record at ``path`` once its ``field`` is one of ``wanted``; who waits looks again after an answer that failed."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if (found := self.get(path))[field] in wanted:
                    return found
                said = f"{field} is {found[field]}"
            except RefusedByApi as error:
                if int(error.problem.get("status", 0)) < 500:
                    raise
                said = str(error)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path}: {said} after {seconds} s, not {' or '.join(wanted)}")
            time.sleep(0.2)

    # --- the tunnel ---------------------------------------------------------------------------------------------------

    def enter(self, tunnel: str) -> Lab:
        """Enter a tunnel as a browser does: gateway, broker, ticket, gateway."""
        origin = self.settings.tunnel_url(ids.label(tunnel))
        found = _answered(lambda: self.web.get(f"{origin}/.sulku/enter"))
        if found.status_code != 200 or not str(found.url).startswith(f"{self.settings.gate_scheme}://gate."):
            raise RefusedByApi({"code": "not-entered", "detail": f"{found.status_code} at {found.url}: {found.text[:300]}"})
        return Lab(self, tunnel, origin)


class Patient(Person):
    """Somebody who asks again when a part of ours is away or has forgotten them, as others kill and replace it."""

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """As of ``Person``, and all tries under one key."""
        headers = _keyed(method, headers)
        ask = super().call

        def once() -> httpx2.Response:
            try:
                return ask(method, path, body, **headers)
            except RefusedByApi as error:
                if error.code != "bad-token":
                    raise
            self._api.headers["Authorization"] = f"Bearer {self._token()}"  # the sign-in of a trial keeps no keys when it is replaced
            return ask(method, path, body, **headers)

        found: httpx2.Response = patiently(once, again=_away)
        return found


def _away(error: Exception) -> bool:
    return isinstance(error, httpx2.HTTPError) or (isinstance(error, RefusedByApi) and int(error.problem.get("status", 500)) >= 500)


class Lab:
    """JupyterLab in a tunnel, as seen through the gateway."""

    def __init__(self, person: Person, tunnel: str, origin: str) -> None:
        self.person, self.tunnel, self.origin = person, tunnel, origin
        self.kernel = ""
        self.session = uuid.uuid4().hex

    def request(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Ask the tunnel's origin for something, with this person's cookies."""
        headers = {"Origin": self.origin, **more.pop("headers", {})}
        return _answered(lambda: self.person.web.request(method, f"{self.origin}{path}", headers=headers, follow_redirects=False, **more))

    def start(self) -> None:
        """Start a kernel."""
        answer = self.request("POST", "/api/kernels", json={"name": "python3"})
        assert answer.status_code == 201, (answer.status_code, answer.text[:500])
        self.kernel = answer.json()["id"]

    def run(self, code: str, seconds: float = 60) -> str:
        """Run ``code`` in the kernel, over the websocket, and return what it printed; raises what it raised."""
        with ThreadPoolExecutor(1) as pool:  # a thread of its own: the caller may be inside another event loop
            return pool.submit(lambda: asyncio.run(asyncio.wait_for(self._run(code), seconds))).result()

    async def _run(self, code: str) -> str:
        printed: list[str] = []
        async with self.connected() as (socket, send):
            wanted = await send(code)
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise ConnectionError(f"the gateway closed the socket: {socket.close_code} {message.extra}")
                said = json.loads(message.data)
                if said.get("parent_header", {}).get("msg_id") != wanted:
                    continue
                content = said["content"]
                if said["msg_type"] == "stream":
                    printed.append(content["text"])
                elif said["msg_type"] == "error":
                    raise RuntimeError("\n".join(content["traceback"])[-3000:])
                elif said["msg_type"] == "status" and content["execution_state"] == "idle":
                    return "".join(printed)
        raise ConnectionError(f"the gateway closed the socket: {socket.close_code}")

    def connected(self) -> Connected:
        """Return an open kernel socket as an async context."""
        return Connected(self)


class Watcher:
    """Keeps a kernel's socket open, with a loop running in the kernel, and notes when and how it was closed.

    It tries again while nobody has time to let it in.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.opened = threading.Event()
        self.closed_at: datetime | None = None
        self.code: int | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()), daemon=True)
        self._thread.start()
        assert self.opened.wait(2 * PATIENCE), f"nothing is heard of the kernel in {lab.tunnel}"

    async def _watch(self) -> None:
        until = time.monotonic() + PATIENCE
        while not self.opened.is_set() and time.monotonic() < until:
            with suppress(aiohttp.ClientError, OSError):
                await self._sit()
            await asyncio.sleep(0 if self.opened.is_set() else 1)

    async def _sit(self) -> None:
        async with self.lab.connected() as (socket, send):
            await send("import time\nwhile True: time.sleep(0.2); print('alive', flush=True)")
            async for _ in socket:
                self.opened.set()
            self.code, self.closed_at = socket.close_code, datetime.now(UTC)

    def wait(self, seconds: float) -> None:
        """Return once the socket is closed."""
        self._thread.join(seconds)


class Connected:
    """An open websocket to the kernel: gives the socket and a function that sends code and returns its message id."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    async def __aenter__(self) -> tuple[aiohttp.ClientWebSocketResponse, Any]:
        lab = self.lab
        scheme, host = lab.origin.split("://", 1)
        jar = lab.person.web.cookies.jar
        cookies = "; ".join(f"{one.name}={one.value}" for one in jar if host.split(":")[0] == one.domain.lstrip("."))
        self.http = aiohttp.ClientSession()
        name, _, port = host.partition(":")
        url = f"{scheme.replace('http', 'ws')}://{lab.person.resolve(name)}:{port or 80}/api/kernels/{lab.kernel}/channels?session_id={lab.session}"
        headers = {"Host": host, "Cookie": cookies, "Origin": lab.origin}
        self.socket = await self._opened(url, headers)

        async def send(code: str) -> str:
            identity = uuid.uuid4().hex
            header = {"msg_id": identity, "msg_type": "execute_request", "username": "", "session": lab.session, "version": "5.3", "date": ""}
            content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
            await self.socket.send_json({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []})
            return identity

        return self.socket, send

    async def _opened(self, url: str, headers: dict[str, str]) -> aiohttp.ClientWebSocketResponse:
        """Return the socket; while the gateway has no time (503) it is asked for again, as JupyterLab does."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                trust = self.lab.person.trust or True
                return await self.http.ws_connect(url, headers=headers, max_msg_size=0, ssl=trust, server_hostname=headers["Host"].partition(":")[0])
            except aiohttp.WSServerHandshakeError as error:
                if error.status != 503 or time.monotonic() > until:
                    await self.http.close()
                    raise
            except BaseException:
                await self.http.close()
                raise
            await asyncio.sleep(0.5)

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()
        await self.http.close()
