"""What stands between the network and Gradio: every HTTP request passes here before anything else sees it.

- Which server: on loopback only the names of this machine are answered, so that a foreign site whose name was made to
  point here (DNS rebinding) gets nothing. `--hosts` adds names, such as a proxy's.
- Which site: a browser's request from another site is refused, whatever cookies it brings.
- Who: with a login, everything but the login page itself needs it, MCP and files included.
- How much: bodies and uploads have limits, failed logins are slowed down, waiting requests are counted per visitor.
- What: no web address is fetched on a visitor's behalf.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from arc2face_app.runs import visitors
from arc2face_app.runs.requests import BadBodyError, Body, Quota, TooLargeError, Tries, read_body, replayed
from arc2face_app.settings import LOOPBACK

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from arc2face_app.settings import ServerSettings

API = "/gradio_api"
OPEN_PATHS = (
    *("/", "/login", "/login/", "/logout", "/favicon.ico", "/robots.txt", "/manifest.json", "/theme.css"),
    *(f"{API}/theme.css", f"{API}/startup-events", f"{API}/login_check", f"{API}/login_check/", f"{API}/user"),
)
OPEN_FOLDERS = ("/static/", "/assets/", "/svelte/", "/pwa_icon", "/studio/")
"""What the login page and share previews are made of; nothing in there belongs to a visitor."""
QUEUED = (f"{API}/queue/join", f"{API}/call/", f"{API}/run/", f"{API}/api/")


class Guard:
    """The outermost ASGI application. `app`: everything inside; `gradio_app`: knows who is logged in."""

    def __init__(self, app: ASGIApp, gradio_app: Any, settings: ServerSettings, books: visitors.Visitors) -> None:
        self._app = app
        self._gradio = gradio_app
        self._settings = settings
        self._visitors = books
        self._names = {*settings.hosts, settings.host.lower(), *LOOPBACK, urlsplit(settings.root_path).hostname or ""}
        self._names.discard("")
        self._prefix = urlsplit(settings.root_path).path.rstrip("/")
        self._token = secrets.token_urlsafe(16)
        self._tries = Tries()
        self._quota = Quota()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with what the checks need to see."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        path = scope["path"].removeprefix(self._prefix) or "/"
        answer = self._refusal(request, path)
        if answer is not None:
            await answer(scope, receive, send)
            return
        send = _tidied(send)
        if request.method == "HEAD" and path == "/":
            # Gradio asks this of itself at the start, and gives up where drawing the page takes a busy machine seconds.
            await Response()(scope, receive, send)
            return
        if path.startswith(f"{API}/heartbeat/"):
            await self._heartbeat(path.rsplit("/", 1)[-1], scope, receive, send)
        elif request.method == "POST" and path.rstrip("/") == "/login":
            await self._login(request, receive, send)
        elif request.method == "POST" and path.rstrip("/") == f"{API}/upload":
            await self._upload(request, receive, send)
        elif request.method == "POST":
            await self._post(request, path, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, request: Request, path: str) -> Response | None:
        host = request.headers.get("host", "")
        if not self._answers_to(_name(host)):
            return _say(
                403,
                f"This server does not answer to the name {_name(host)[:100]!r}. If the name is right, start it with "
                "--hosts NAME (or ARC2FACE_HOSTS).",
            )
        if self._foreign(request, host):
            return _say(
                403, "Requests from other web sites are not answered. --hosts (ARC2FACE_HOSTS) names exceptions."
            )
        if path.startswith((f"{API}/proxy=", f"{API}/file=http:", f"{API}/file=https:", f"{API}/file/http")):
            return _say(403, "Web addresses are not fetched.")
        if self._settings.auth is not None and not self._may_enter(request, path):
            wait = self._tries.wait(_address(request))
            if wait:
                return _say(429, "Too many failed logins. Wait a minute.", {"Retry-After": str(wait)})
            basic = {"WWW-Authenticate": 'Basic realm="Arc2Face Studio"'} if path.startswith(f"{API}/mcp") else {}
            return _say(401, "Not authenticated", basic)
        return None

    def _answers_to(self, name: str) -> bool:
        if "*" in self._settings.hosts or name in self._names:
            return True
        if self._settings.share and name.endswith(".gradio.live"):
            return True
        on_loopback = self._settings.host in LOOPBACK
        if not on_loopback and not self._settings.hosts:
            return True
        return not on_loopback and _is_address(name)

    def _foreign(self, request: Request, host: str) -> bool:
        """Whether a browser sends this from a page of another site."""
        if "*" in self._settings.hosts:
            return False
        origin = request.headers.get("origin")
        if origin is None:
            crossing = request.headers.get("sec-fetch-site") == "cross-site"
            return crossing and request.headers.get("sec-fetch-mode") != "navigate"
        if _name(origin) in self._settings.hosts:
            return False
        own = (host, request.headers.get("x-forwarded-host", host))
        return not any(_same_site(origin, one) for one in own)

    def _may_enter(self, request: Request, path: str) -> bool:
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            return True
        name = self._gradio.cookie_id
        tokens = (request.cookies.get(f"access-token-{kind}{name}") for kind in ("", "unsecure-"))
        if any(token in self._gradio.tokens for token in tokens if token):
            return True
        return self._by_header(request)

    def _by_header(self, request: Request) -> bool:
        """HTTP Basic, for MCP and other programs: what is inside sees a session like any other."""
        scheme, _, coded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or self._tries.wait(_address(request)):
            return False
        try:
            user, _, password = base64.b64decode(coded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        wanted = self._settings.auth or ("", "")
        right = [secrets.compare_digest(a.encode(), b.encode()) for a, b in zip((user, password), wanted, strict=True)]
        if not all(right):
            self._tries.failed(_address(request))
            return False
        self._gradio.tokens[self._token] = user
        cookie = f"access-token-unsecure-{self._gradio.cookie_id}={self._token}"
        request.scope["headers"] = [*request.scope["headers"], (b"cookie", cookie.encode())]
        return True

    async def _heartbeat(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        self._visitors.opened(session)
        try:
            await self._app(scope, receive, send)
        finally:
            self._visitors.closed(session)
            loop = asyncio.get_running_loop()
            loop.call_later(visitors.GRACE, loop.run_in_executor, None, self._visitors.forget, session)

    async def _login(self, request: Request, receive: Receive, send: Send) -> None:
        wait = self._tries.wait(_address(request))
        if wait:
            answer = _say(429, "Too many failed logins. Wait a minute.", {"Retry-After": str(wait)})
            await answer(request.scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 400:
                self._tries.failed(_address(request))
            await send(message)

        await self._app(request.scope, receive, watched)

    async def _upload(self, request: Request, receive: Receive, send: Send) -> None:
        try:
            metered = self._quota.metered(request, receive)
            await self._app(request.scope, metered, send)
        except TooLargeError as error:
            await _say(error.status, str(error))(request.scope, receive, send)

    async def _post(self, request: Request, path: str, receive: Receive, send: Send) -> None:
        """Anything with a JSON body: read it once, look at it, and hand it on as it was."""
        to_mcp = path.startswith(f"{API}/mcp")
        try:
            raw = await read_body(request, to_mcp)
            body = Body.of(raw, to_mcp)
        except ClientDisconnect:
            return
        except TooLargeError as error:
            await _say(error.status, str(error))(request.scope, receive, send)
            return
        except BadBodyError as error:
            await _refused(str(error), error.call_id)(request.scope, receive, send)
            return
        self._visitors.tidy()
        if body.session:
            self._visitors.claim(body.session, body.paths)
        if path.startswith(QUEUED):
            fn = self._function(path, body)
            refusal = self._visitors.refusal(body.session, _address(request), fn)
            if refusal:
                await _say(503, refusal)(request.scope, receive, send)
                return
        await self._app(request.scope, replayed(raw, receive), send)

    def _function(self, path: str, body: Body) -> Any:
        functions = self._gradio.get_blocks().fns
        if body.function is not None:
            return functions.get(body.function)
        name = path.rstrip("/").rsplit("/", 1)[-1]
        return next((fn for fn in functions.values() if fn.api_name == name), None)


def _tidied(send: Send) -> Send:
    """No permission for other sites to read answers, no cookie that travels along to us from there."""

    async def tidied(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            for name in [name for name in headers if name.lower().startswith("access-control-allow-")]:
                del headers[name]
            headers.setdefault("X-Content-Type-Options", "nosniff")
            headers.setdefault("Referrer-Policy", "same-origin")
            message["headers"] = [
                (name, _same_site_only(value) if name.lower() == b"set-cookie" else value)
                for name, value in headers.raw
            ]
        await send(message)

    return tidied


def _same_site_only(cookie: bytes) -> bytes:
    try:
        jar = SimpleCookie(cookie.decode("latin-1"))
    except CookieError:
        return cookie
    for morsel in jar.values():
        morsel["samesite"] = "Lax"
    return jar.output(header="").strip().encode("latin-1")


def _say(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    # `detail` is where Gradio's page and client look for a reason.
    return JSONResponse({"detail": text}, status, headers)


def _refused(text: str, call_id: Any) -> Response:
    if call_id is None:
        return _say(400, text)
    return JSONResponse({"jsonrpc": "2.0", "id": call_id, "error": {"code": -32602, "message": text}})


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _name(host: str) -> str:
    """The host of `host:port` or of an origin, in lower case and without brackets."""
    try:
        return (urlsplit(host if "://" in host else f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _port(host: str) -> int | None:
    try:
        return urlsplit(host if "://" in host else f"//{host}").port
    except ValueError:
        return -1


def _same_site(origin: str, host: str) -> bool:
    names, ports = {_name(origin), _name(host)}, {_port(origin), _port(host)} - {None}
    return (len(names) == 1 or names <= set(LOOPBACK)) and "" not in names and len(ports) <= 1


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
