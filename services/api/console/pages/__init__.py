"""One module a page, each with a `router`."""

from services.api.console.pages import login, now

ROUTERS = (login.router, login.inside, now.router)
