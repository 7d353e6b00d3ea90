"""One module a page, each with a `router`."""

from services.api.console.pages import (
    agents,
    deadletters,
    exports,
    fairness,
    imports,
    keys,
    leads,
    login,
    now,
    routes,
    sheets,
    unassigned,
)

MODULES = (now, leads, unassigned, fairness, routes, agents, sheets, deadletters, imports, exports, keys)
ROUTERS = (login.router, login.inside, *(module.router for module in MODULES))
