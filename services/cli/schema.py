"""`leadline schema`: the contract on the wire as AsyncAPI 3.0 and one JSON Schema an event, from the event models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from shared.events import EVENTS, LEAD_ID_MAX_BYTES, Event, LeadId
from shared.messaging.topology import EVENTS_EXCHANGE, queues_for

#: Of the contract, not of the program: a breaking change gets a new routing key, the rest raises the second number.
CONTRACT_VERSION = "1.0.0"
ASYNCAPI_FILE = "asyncapi.json"
SCHEMA_FOLDER = "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Flow:
    """Who sends an event and who listens. Any outsider may listen too, with a queue of its own."""

    senders: tuple[str, ...]
    receivers: tuple[str, ...]


FLOWS: Mapping[str, Flow] = {
    "lead.created": Flow(("CRM", "file import", "HTTP API", "simulator"), ("ingest",)),
    "lead.updated": Flow(("CRM",), ("ingest",)),
    "lead.rejected": Flow(("ingest",), ("CRM",)),
    "lead.duplicate": Flow(("ingest",), ("CRM",)),
    "lead.accepted": Flow(("ingest",), ("assigner",)),
    "lead.taken": Flow(("CRM", "HTTP API", "documents"), ("assigner",)),
    "lead.closed": Flow(("CRM", "HTTP API", "documents"), ("assigner",)),
    "lead.reopened": Flow(("CRM", "HTTP API"), ("assigner",)),
    "assignment.requested": Flow(("scheduler", "HTTP API", "command line"), ("assigner",)),
    "lot.requested": Flow(("scheduler", "HTTP API", "command line"), ("assigner",)),
    "lead.assigned": Flow(("assigner",), ("documents", "webhooks", "CRM")),
    "lead.unassigned": Flow(("assigner",), ("documents", "webhooks", "CRM")),
    "lot.completed": Flow(("assigner", "scheduler"), ("notifier", "CRM")),
    "document.ready": Flow(("documents", "scheduler"), ("notifier",)),
    "sheet.returned": Flow(("command line", "drop folder", "mailbox", "HTTP API"), ("documents",)),
    "sheet.damaged": Flow(("notifier",), ("documents",)),
    "notification.sent": Flow(("notifier",), ("CRM",)),
    "outcome.recorded": Flow(("documents",), ("webhooks", "CRM")),
}
OUTSIDERS = frozenset({"CRM"})

_ABOUT = f"""\
Leadline takes in leads from a CRM, gives each one to the right agent, prints the agent's sheet and mails it.

Every event is one JSON object in UTF-8 on the durable topic exchange `{EVENTS_EXCHANGE}`; its type is the routing key.
A client needs no more than exchange, routing key and body. To listen, bind a queue of your own.

Delivery is at least once. `event_id` is made once and kept by every repeat; `revision` rises per lead and service:
with the two a listener drops repeats and late ones. Fields that are unknown are no error. A breaking change gets a new
routing key (`lead.created.v2`); an absent `schema-version` is 1.

CloudEvents 1.0 is accepted on the way in: structured (content type `application/cloudevents+json`) and binary
(headers that begin with `cloudEvents_`). `id` and `time` fill `event_id` and `occurred_at` where the event has none."""

_HEADERS: JsonSchemaValue = {
    "type": "object",
    "description": "None is required. `cloudEvents_…` makes the message a CloudEvent in binary mode.",
    "properties": {
        "schema-version": {"type": "integer", "const": 1, "description": "Absent is 1."},
        "traceparent": {"type": "string", "description": "W3C Trace Context."},
        "cloudEvents_specversion": {"type": "string", "const": "1.0"},
        "cloudEvents_id": {"type": "string"},
        "cloudEvents_type": {"type": "string"},
        "cloudEvents_source": {"type": "string"},
        "cloudEvents_time": {"type": "string", "format": "date-time"},
    },
}
_PROPERTIES: JsonSchemaValue = {
    "type": "object",
    "description": "The AMQP 0-9-1 properties that Leadline sets. A client need not set any.",
    "properties": {
        "message_id": {"type": "string", "description": "Fresh each publish; repeats are told by `event_id`."},
        "correlation_id": {"type": "string", "maxLength": 255, "description": "The lead id."},
        "type": {"type": "string", "description": "The event type."},
        "content_type": {"type": "string", "enum": ["application/json", "application/cloudevents+json"]},
        "timestamp": {"type": "integer", "description": "When it was published, seconds since 1970."},
        "app_id": {"type": "string", "description": "The service that published it."},
        "delivery_mode": {"type": "integer", "const": 2, "description": "Persistent."},
    },
}


def schema_command(
    out: Annotated[
        Path | None, typer.Option(help="Write asyncapi.json and schema/*.json here; without it AsyncAPI is printed.")
    ] = None,
) -> None:
    """Give the contract on the wire as AsyncAPI 3.0 and JSON Schema."""
    files = contract_files()
    if out is None:
        typer.echo(files[ASYNCAPI_FILE], nl=False)
        return
    for name, text in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    typer.echo(f"{len(files)} files written to {out}")


def contract_files() -> dict[str, str]:
    """Give the text of every generated file by its path below `docs/`. The same models give the same text."""
    documents = {ASYNCAPI_FILE: asyncapi()} | {
        f"{SCHEMA_FOLDER}/{event.type}.json": json_schema(event) for event in EVENTS
    }
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in documents.items()}


def json_schema(event: type[Event]) -> JsonSchemaValue:
    """Give one event's JSON Schema. It is at most as lenient as the service that reads the event."""
    schema = event.model_json_schema(schema_generator=_WireSchema)
    return {"$schema": DIALECT, "$id": f"urn:leadline:schema:{event.type}:1"} | schema


def asyncapi() -> JsonSchemaValue:
    """Give the AsyncAPI 3.0 document, as seen from Leadline: what it receives and what it sends."""
    _, schemas = models_json_schema(
        [(event, "validation") for event in EVENTS],
        ref_template="#/components/schemas/{model}",
        schema_generator=_WireSchema,
    )
    return {
        "asyncapi": "3.0.0",
        "id": "urn:leadline",
        "info": {"title": "Leadline", "version": CONTRACT_VERSION, "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "localhost:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "RabbitMQ 3.10 or newer; the address is the setting LEADLINE_AMQP_URL.",
            }
        },
        "channels": {event.type: _channel(event) for event in EVENTS},
        "operations": {name: operation for event in EVENTS for name, operation in _operations(event).items()},
        "components": {
            "messages": {event.__name__: _message(event) for event in EVENTS},
            "messageTraits": {
                "envelope": {
                    "contentType": "application/json",
                    "headers": _HEADERS,
                    "bindings": {"amqp": {"contentEncoding": "utf-8", "bindingVersion": "0.3.0"}},
                    "x-amqp-properties": _PROPERTIES,
                }
            },
            "schemas": schemas["$defs"],
        },
    }


def _channel(event: type[Event]) -> JsonSchemaValue:
    flow = FLOWS[event.type]
    exchange = {"name": EVENTS_EXCHANGE, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": event.type,
        "title": event.type,
        "description": f"From {', '.join(flow.senders)} to {', '.join(flow.receivers)}.",
        "messages": {event.__name__: {"$ref": f"#/components/messages/{event.__name__}"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}},
        "x-senders": list(flow.senders),
        "x-receivers": list(flow.receivers),
    }


def _message(event: type[Event]) -> JsonSchemaValue:
    summary, _, description = (event.__doc__ or "").strip().partition("\n")
    message: dict[str, Any] = {
        "name": event.type,
        "title": event.type,
        "summary": summary,
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "traits": [{"$ref": "#/components/messageTraits/envelope"}],
    }
    if text := " ".join(description.split()):
        message["description"] = text
    if "lead_id" in event.model_fields:
        message["correlationId"] = {
            "location": "$message.payload#/lead_id",
            "description": "The lead id, also the AMQP property correlation_id.",
        }
    return message


def _operations(event: type[Event]) -> dict[str, JsonSchemaValue]:
    """What parts of Leadline do with the event: each queue of ours that takes it, each sender that is not the CRM."""
    at = {
        "channel": {"$ref": f"#/channels/{event.type}"},
        "messages": [{"$ref": f"#/channels/{event.type}/messages/{event.__name__}"}],
    }
    sends = {
        _name(sender, "sends", event.type): {
            "action": "send",
            **at,
            "summary": f"The {sender} sends {event.type}.",
            "bindings": {"amqp": {"deliveryMode": 2, "mandatory": event.is_ours, "bindingVersion": "0.3.0"}},
        }
        for sender in FLOWS[event.type].senders
        if sender not in OUTSIDERS
    }
    receives = {
        _name(queue, "receives", event.type): {
            "action": "receive",
            **at,
            "summary": f"The queue {queue} takes {event.type}.",
            "bindings": {"amqp": {"ack": True, "bindingVersion": "0.3.0"}},
            "x-queue": queue,
        }
        for queue in queues_for(event.type)
    }
    return sends | receives


def _name(*parts: str) -> str:
    return "_".join(parts).replace(" ", "_").replace(".", "_").lower()


#: The validator of a lead id, as the models name it.
_LEAD_ID = get_args(LeadId)[1]


class _WireSchema(GenerateJsonSchema):
    """Tells of a lead id what its validator takes, which pydantic cannot see."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        plain = super().function_before_schema(schema)
        if schema["function"]["function"] is not _LEAD_ID.func:
            return plain
        return plain | {
            "type": ["string", "integer"],
            "minLength": 1,
            "maxLength": LEAD_ID_MAX_BYTES,
            "description": f"1 to {LEAD_ID_MAX_BYTES} bytes, no control characters; a whole number becomes its string.",
        }
