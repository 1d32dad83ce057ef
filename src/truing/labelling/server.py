"""The routes: pages, and what their script asks for."""

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from truing.core.errors import RunError
from truing.core.label_figures import figures, heads, rows
from truing.labelling.figures import disputes, progress, shares
from truing.labelling.guarded import App, Guarded
from truing.labelling.items import STEPS
from truing.labelling.people import Person, who
from truing.labelling.places import withdraw
from truing.labelling.showing import as_html, shown
from truing.labelling.store import Given, PageError, Store, Vote

HERE = Path(__file__).parent
STATIC = {"page.js": "text/javascript", "lead.js": "text/javascript", "page.css": "text/css"}
PAGES = Environment(loader=FileSystemLoader(HERE / "static"), autoescape=True, undefined=StrictUndefined)
Answer = Callable[[Person, Any], Any]


class _Posted(BaseModel):
    """What every post of a page has."""

    model_config = ConfigDict(extra="forbid", strict=True)
    client: str = Field(pattern=r"^[0-9a-f-]{36}$")


class _PostedVote(_Posted):
    assignment: int = Field(ge=1, lt=2**63)
    kind: str
    value: int | None = None
    reason: str | None = Field(None, max_length=200)
    comment: str | None = Field(None, max_length=4000)
    flagged: bool = False
    seconds: float | None = Field(None, ge=0, le=86400)


class _PostedSettle(_Posted):
    item: int = Field(ge=1, lt=2**63)
    value: int


class _PostedWithdraw(_Posted):
    item: int = Field(ge=1, lt=2**63)
    is_back: bool


@dataclass(frozen=True)
class Site:
    """The pages over one store."""

    store: Store
    guidelines: str
    """Markdown, beside the work; empty for none"""
    cookie: str
    """Its name: browsers give cookies to every port of a host"""
    is_secure: bool
    """Whether browsers come by TLS"""

    def app(self, origins: set[str]) -> App:
        """As a server takes it; pages come from one of `origins`."""
        routes = [
            Route("/", self._page("page.html", self._work)),
            Route("/lead", self._page("lead.html", self._overview, "lead")),
            Route("/api/next", self._api(self._next)),
            Route("/api/progress", self._api(lambda person, _: asdict(progress(self.store.database, person.id)))),
            Route("/api/vote", self._api(self._vote), methods=["POST"]),
            Route("/api/undo", self._api(self._undo), methods=["POST"]),
            Route("/api/settle", self._api(self._settle, "lead"), methods=["POST"]),
            Route("/api/withdraw", self._api(self._withdraw, "lead"), methods=["POST"]),
            *(Route(f"/static/{name}", partial(_static, name)) for name in STATIC),
        ]
        return Guarded(Starlette(routes=routes), origins)

    async def _who(self, request: Request, role: str | None = None) -> Person:
        token = request.cookies.get(self.cookie, "")
        person = await run_in_threadpool(who, self.store.database, token)
        if person is None:
            raise PageError("This browser has no link that is good here. Open the link that you were given.", 401)
        if role is not None and person.role != role:
            raise PageError("This page is for the lead.", 403)
        return person

    def _page(
        self, template: str, content: Callable[[Person], dict[str, Any]], role: str | None = None
    ) -> Callable[[Request], Awaitable[Response]]:
        file = self.store.database.name

        async def page(request: Request) -> Response:
            token = request.query_params.get("t")
            if token is not None:
                return await self._enter(token)
            try:
                person = await self._who(request, role)
                return HTMLResponse(
                    _fill(template, person=person, file=file, **await run_in_threadpool(content, person))
                )
            except PageError as refusal:
                return HTMLResponse(_fill("notice.html", text=str(refusal), to=None), refusal.status)

        return page

    async def _enter(self, token: str) -> Response:
        """Puts the token of a link into a cookie, and out of the address.

        By a page that goes on to the next, for after a redirect from a link on another site a strict cookie stays out.
        """
        person = await run_in_threadpool(who, self.store.database, token)
        if person is None:
            text = "This link is not good here, or not any more. Ask who gave it to you for a new one."
            return HTMLResponse(_fill("notice.html", text=text, to=None), 401)
        entered = HTMLResponse(_fill("notice.html", text="One moment.", to="/"))
        entered.set_cookie(
            self.cookie, token, max_age=90 * 86400, httponly=True, samesite="strict", secure=self.is_secure
        )
        return entered

    def _api(self, answer: Answer, role: str | None = None) -> Callable[[Request], Awaitable[Response]]:
        database = self.store.database

        async def api(request: Request) -> Response:
            try:
                person = await self._who(request, role)
                if request.headers.get("truing-labels", database.name) != database.name:
                    raise PageError("This page is of other labels than those that are here now: reload it.", 409)
                asked = json.loads(await request.body()) if request.method == "POST" else None
                return JSONResponse(await run_in_threadpool(answer, person, asked))
            except PageError as refusal:
                return JSONResponse({"error": str(refusal)}, refusal.status)
            except (ValidationError, ValueError, RecursionError):
                return JSONResponse({"error": "That is nothing that this page sends: reload it."}, 422)
            except RunError as error:
                logging.getLogger(__name__).error("the file of labels refuses: %s", error)
                text = f"Nothing was saved: the server's file of labels refuses it ({error}). Tell who runs it."
                return JSONResponse({"error": text}, 507)

        return api

    def _work(self, person: Person) -> dict[str, Any]:
        guidelines = as_html(self.guidelines) if self.guidelines else None
        return {"mode": self.store.mode, "guidelines": guidelines}

    def _overview(self, person: Person) -> dict[str, Any]:
        from truing.labelling.quality import label_quality  # torch comes with it, and judging does without

        low, high = STEPS[self.store.mode]
        database, mode = self.store.database, self.store.mode
        quality = label_quality(database, mode)
        return {
            "mode": mode,
            "steps": range(low, high + 1),
            "shares": shares(database),
            "figures": figures(quality),
            "heads": heads(quality),
            "rows": {row.name: row for row in rows(quality)},
            "disputes": disputes(database, mode),
            "progress": progress(database, person.id),
            "shown": shown,
        }

    def _next(self, person: Person, _: Any) -> dict[str, Any]:
        return self._told(person, self.store.next(person.id))

    def _vote(self, person: Person, asked: Any) -> dict[str, Any]:
        return self._told(person, self.store.vote(person.id, Vote(**_PostedVote.model_validate(asked).model_dump())))

    def _undo(self, person: Person, asked: Any) -> dict[str, Any]:
        return self._told(person, self.store.undo(person.id, _Posted.model_validate(asked).client))

    def _told(self, person: Person, given: Given | None) -> dict[str, Any]:
        """What a page shows next."""
        told = {"progress": asdict(progress(self.store.database, person.id)), "item": None}
        if given is not None:
            told["item"] = {
                "assignment": given.assignment,
                "prompt": shown(given.prompt),
                "answers": list(map(shown, given.answers)),
                "is_again": given.is_again,
                "comment": given.comment,
                "flagged": given.flagged,
            }
        return told

    def _settle(self, person: Person, asked: Any) -> dict[str, Any]:
        wanted = _PostedSettle.model_validate(asked)
        self.store.settle(person.id, wanted.client, wanted.item, wanted.value)
        return {}

    def _withdraw(self, _: Person, asked: Any) -> dict[str, Any]:
        wanted = _PostedWithdraw.model_validate(asked)
        withdraw(self.store.database, wanted.item, wanted.is_back)
        return {}


async def _static(name: str, _: Request) -> Response:
    return Response((HERE / "static" / name).read_bytes(), media_type=STATIC[name])


def _fill(template: str, **content: Any) -> Markup:
    """A page, every text in it escaped."""
    return Markup(PAGES.get_template(template).render(content))
