"""The console: the same functions as the API's, as pages for people. Server-rendered, live by server-sent events."""
