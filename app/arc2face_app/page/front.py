"""The page's own first bytes: language, share preview, and the tables of texts, which stand beside Gradio's answers.

Gradio's page calls itself "Gradio" to whoever shares a link, and links to its makers' picture. What other sites see of
a link is a title, a sentence and a picture that this server has itself.
"""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import FileResponse, Response

from arc2face_app.page.language import LANGUAGES, best_language, table
from arc2face_app.page.theme import ASSETS, SCRIPT_HEAD

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = "/studio/"
PREVIEW = ASSETS / "preview.jpg"
PREVIEW_SIZE = (1200, 630)
TITLE = "Arc2Face Studio"
DESCRIPTION = "New pictures of one person from one photo: fresh portraits, the head turned, another expression."
_OLD_META = re.compile(r'\s*<meta\s+(?:property="og:|name="twitter:)[^>]*>')
_LANG = re.compile(r'(<html\s+lang=")[^"]*"')


class Front:
    """Wraps Gradio's application. `prefix`: path prefix behind a reverse proxy, without a trailing slash."""

    def __init__(self, app: ASGIApp, prefix: str = "") -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the few paths of our own, change the page itself, and leave everything else alone."""
        path = str(scope.get("path", "")).removeprefix(self._prefix) or "/"
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
        elif path.startswith(FOLDER):
            await self._own(path.removeprefix(FOLDER))(scope, receive, send)
        elif path == "/" and scope["method"] == "HEAD":
            # Gradio asks this at its start and gives up after 3 s, which the whole page can take on a busy machine.
            await Response(media_type="text/html")(scope, receive, send)
        elif path == "/" and scope["method"] == "GET":
            await self._page(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    @staticmethod
    def _own(name: str) -> Response:
        cached = {"Cache-Control": "no-cache"}
        if name == PREVIEW.name:
            return FileResponse(PREVIEW, headers={"Cache-Control": "max-age=86400"})
        language = name.removesuffix(".json")
        if name.endswith(".json") and language in LANGUAGES:
            return Response(texts_json(language), media_type="application/json", headers=cached)
        return Response("Not found", 404)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page with a head of our own. It is small, so it is held back until it is whole."""
        asked = Headers(scope=scope)
        plain = [(key, value) for key, value in scope["headers"] if key.lower() != b"accept-encoding"]
        start: list[Message] = []
        parts: list[bytes] = []

        async def held(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.append(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = b"".join(parts)
            headers = MutableHeaders(raw=list(start[0].get("headers", ())))
            if headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers and body:
                body = with_head(body.decode(), _origin(scope, asked) + self._prefix, _wanted(asked)).encode()
                headers["content-length"] = str(len(body))
                headers.add_vary_header("Accept-Language")
            await send({**start[0], "headers": headers.raw})
            await send({"type": "http.response.body", "body": body})

        await self._app({**scope, "headers": plain}, receive, held)


def with_head(page: str, address: str, language: str) -> str:
    """Gradio's page with our language, our share preview, and the script that says the texts in that language."""
    start, config, rest = page.partition("window.gradio_config")  # a megabyte that needs no look
    page = _LANG.sub(rf'\g<1>{language}"', _OLD_META.sub("", start), count=1) + config + rest
    address = html.escape(address, quote=True)
    picture, (width, height) = f"{address}{FOLDER}{PREVIEW.name}", PREVIEW_SIZE
    said = table(language)
    description = html.escape(said.get(DESCRIPTION, DESCRIPTION), quote=True)
    rows = (
        ("name", "description", description),
        ("property", "og:type", "website"),
        ("property", "og:site_name", TITLE),
        ("property", "og:title", TITLE),
        ("property", "og:description", description),
        ("property", "og:url", f"{address}/"),
        ("property", "og:image", picture),
        ("property", "og:image:width", str(width)),
        ("property", "og:image:height", str(height)),
        ("property", "og:image:alt", description),
        ("name", "twitter:card", "summary_large_image"),
        ("name", "twitter:title", TITLE),
        ("name", "twitter:description", description),
        ("name", "twitter:image", picture),
    )
    meta = "".join(f'<meta {kind}="{name}" content="{content}">' for kind, name, content in rows)
    script = SCRIPT_HEAD.read_text(encoding="utf-8").replace("__LANGUAGES__", json.dumps(LANGUAGES))
    return page.replace("</head>", f"{meta}<script>{script}</script></head>", 1)


def texts_json(language: str) -> bytes:
    """The table of a language for the browser."""
    return json.dumps(table(language), ensure_ascii=False, separators=(",", ":")).encode()


def _wanted(headers: Headers) -> str:
    return best_language(headers.get("accept-language", ""))


def _origin(scope: Scope, headers: Headers) -> str:
    """The address under which the visitor knows this server."""
    scheme = headers.get("x-forwarded-proto", str(scope.get("scheme", "http"))).split(",")[0].strip()
    host = headers.get("x-forwarded-host", headers.get("host", "localhost")).split(",")[0].strip()
    return f"{scheme}://{host}"
