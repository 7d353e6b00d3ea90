# One image for all services: `docker run IMAGE leadline …` and `docker run IMAGE python -m services.NAME`.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/leadline
# What changes seldom comes first: the dependencies are a layer of their own, pinned and never compiled here.
COPY deploy/requirements.txt deploy/
RUN pip --python /opt/leadline/bin/python install --no-cache-dir --no-deps --only-binary :all: -r deploy/requirements.txt
COPY pyproject.toml README.md ./
COPY shared shared
COPY migrations migrations
COPY services services
RUN pip --python /opt/leadline/bin/python install --no-cache-dir --no-deps . \
    && pip --python /opt/leadline/bin/python check

FROM python:3.13-slim
# Numeric, so that Kubernetes can see that it is not root.
RUN useradd --uid 10001 --create-home --home-dir /var/lib/leadline --shell /usr/sbin/nologin leadline \
    && install --directory --owner leadline --group leadline /var/lib/leadline/sheets
COPY --from=build /opt/leadline /opt/leadline
ENV PATH=/opt/leadline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LEADLINE_SHEETS_DIR=/var/lib/leadline/sheets
USER 10001:10001
WORKDIR /var/lib/leadline
# No ENTRYPOINT: the command is the program itself, process 1, and gets its SIGTERM. No HEALTHCHECK: each service's own
# port tells it, see docker-compose.yml.
CMD ["leadline", "--help"]
