"""One module a noun, each with a `router`."""

from services.api.routes import (
    deadletters,
    exports,
    imports,
    keys,
    leads,
    lots,
    numbers,
    operators,
    requests,
    routing,
    sheets,
    sources,
    webhooks,
)

MODULES = (
    operators,
    sources,
    requests,
    leads,
    routing,
    lots,
    numbers,
    sheets,
    imports,
    deadletters,
    exports,
    webhooks,
    keys,
)
ROUTERS = tuple(module.router for module in MODULES)
#: Where a body may be as large as a file.
UPLOAD_PATHS = ("/imports", "/sheets/returned")
