"""The HTTP API. The console's pages go to `services/api/console/`, on the same app."""
