"""One module a noun, each with a `router`."""

from services.api.routes import operators, requests, sources

ROUTERS = (operators.router, sources.router, requests.router)
#: Where a body may be as large as a file.
UPLOAD_PATHS = ("/imports", "/sheets/returned")
