"""What the routes below /api take and answer, as OpenAPI 3.1. Pure.

Records of events and builds are made of their types; tests/unit/monitor/test_openapi.py holds all of it against
what the routes answer. docs/reference/monitor.md says what the fields mean.
"""

from __future__ import annotations

from dataclasses import fields
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from zcc import __version__
from zcc.events import (
    FarmEvent,
    FarmPulse,
    FarmShown,
    MemberShown,
    NodeShown,
    QueueRow,
    QueueShown,
    ToolchainShown,
)
from zcc.watching.builds import BuildLine

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_FLAG: Schema = {"type": "boolean"}
_MILLIS: Schema = {
    "type": "integer",
    "description": "Milliseconds; a moment is Unix time, 0: not yet.",
}
# A word or a name, and how often.
_COUNTED: Schema = {
    "type": "array",
    "items": {"type": "array", "prefixItems": [_TEXT, _COUNT], "minItems": 2, "maxItems": 2},
}
_PLAIN: dict[Any, Schema] = {bool: _FLAG, int: _COUNT, float: _NUMBER, str: _TEXT}


def document() -> dict[str, Any]:
    """What /api/openapi.json answers."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "zcc monitor",
            "version": __version__,
            "description": "What zcc monitor tells of a farm. Later releases may add fields.",
        },
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "zcc-monitor"},
            },
        },
        # Without --token-file none is needed.
        "security": [{}, {"token": []}, {"cookie": []}],
    }


def _paths() -> dict[str, Any]:
    build_id = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
    file = {
        "name": "file",
        "in": "query",
        "schema": _TEXT,
        "description": "A part of a file's name, or how a job's key begins.",
    }
    return {
        "/api/state": {"get": _answers("The farm at present", _ref("State"))},
        "/api/builds": {"get": _answers("The last builds", _record(builds=_list(_ref("Build"))))},
        "/api/builds/{id}": {
            "get": {
                **_answers("All of a build", _ref("BuildPage"), missing=True),
                "parameters": [build_id],
            }
        },
        "/api/why": {
            "get": {
                **_answers("What became of files", _record(compiles=_list(_ref("Compile")))),
                "parameters": [file],
            }
        },
        "/api/openapi.json": {"get": _answers("This document", {"type": "object"})},
        "/api/drain": {"post": _drain()},
    }


def _drain() -> dict[str, Any]:
    order = _record(member=_TEXT, name=_TEXT, is_drained=_FLAG)
    told = _answers("Take a node away, or let it work again", _record(count=_COUNT), missing=True)
    refused = {"description": "Not allowed here, or not asked by the page itself."}
    failed = {"description": "The broker does not do it, and why.", "content": _json(_ref("Error"))}
    return {
        **told,
        "requestBody": {"required": True, "content": _json(order)},
        "responses": {
            **told["responses"],
            "400": {"description": "No such order."},
            "403": refused,
            "502": failed,
        },
    }


def _schemas() -> dict[str, Schema]:
    node = {**_event(NodeShown)["properties"], "running": _COUNT}
    build = {**_of_class(BuildLine), "project": _TEXT, "local_reasons": _COUNTED}
    run = _run()
    return {
        "Error": _record(error=_TEXT),
        "Source": _record(is_up=_FLAG, why=_TEXT, is_replay=_FLAG),
        "Trouble": _record(level={"enum": ["bad", "warn", "note"]}, text=_TEXT),
        "Farm": _event(FarmShown),
        "Pulse": _event(FarmPulse),
        "Queue": {**_event(QueueShown)},
        "Node": _record(**node),
        "Member": _event(MemberShown),
        "Toolchain": _event(ToolchainShown),
        "State": _record(
            source=_ref("Source"),
            farm=_or_null(_ref("Farm")),
            now_s=_NUMBER,
            pulse=_or_null(_ref("Pulse")),
            queue=_or_null(_ref("Queue")),
            nodes=_list(_ref("Node")),
            members=_list(_ref("Member")),
            toolchains=_list(_ref("Toolchain")),
            jobs=_record(**dict.fromkeys(("queued", "sending", "leased", "running"), _COUNT)),
            last_minute={"type": "object", "additionalProperties": _COUNT},
            troubles=_list(_ref("Trouble")),
        ),
        "Build": _record(**build),
        "Run": _record(**run),
        "BuildPage": _record(**build, **_page()),
        "Compile": {
            "type": "object",
            "properties": {**run, **_of_compile()},
            "required": ["what", "file", "key", "at_ms", "build", "build_name", "user"],
            "additionalProperties": False,
        },
    }


def _run() -> dict[str, Schema]:
    texts = ("file", "key", "outcome", "why", "toolchain", "node", "reason")
    times = (
        "queued_ms", "leased_ms", "started_ms", "ended_ms", "cost_ms", "expected_ms", "cpu_ms", "wall_ms",
    )  # fmt: skip
    counts = ("memory_bytes", "slots", "idle", "status", "peak_bytes", "output_bytes", "twins")
    return {
        **dict.fromkeys(texts, _TEXT),
        **dict.fromkeys(times, _MILLIS),
        **dict.fromkeys(counts, _COUNT),
        **dict.fromkeys(("rate", "fastest"), _NUMBER),
        "losses": _list(_TEXT),
        "phases": {**_list(_MILLIS), "minItems": 6, "maxItems": 6},
    }


def _page() -> dict[str, Schema]:
    runs = _list(_ref("Run"))
    late = _record(
        file=_TEXT, node=_TEXT, ended_ms=_MILLIS, late_ms=_MILLIS, why=_TEXT, wall_ms=_MILLIS,
        on_fastest_ms=_MILLIS, came_after_ms=_MILLIS, causes=_COUNTED,
    )  # fmt: skip
    tail = _record(
        began_ms=_MILLIS, ended_ms=_MILLIS, even_ms=_MILLIS, at_most=_COUNT, slots=_COUNT,
        holders=_list(late), left_out=_COUNT, helps=_COUNTED, ms=_MILLIS, lost_ms=_MILLIS,
        alone_ms=_MILLIS, last=_ref("Run"), on_fastest_ms=_MILLIS, told=_list(_TEXT),
    )  # fmt: skip
    node = _record(node=_TEXT, jobs=_COUNT, cpu_ms=_MILLIS, per_cost=_or_null(_NUMBER))
    phases = ("scan", "queue", "send", "fetch", "compile", "return")
    return {
        "now_ms": _MILLIS,
        "end_ms": _MILLIS,
        **dict.fromkeys(("runs", "slowest", "largest", "failures", "lost"), runs),
        "runs_left_out": _COUNT,
        "cores": _record(step_ms=_MILLIS, means=_list(_NUMBER)),
        "tail": _or_null(tail),
        "phases": _record(**dict.fromkeys(phases, _MILLIS)),
        "nodes": _list(node),
        **dict.fromkeys(("refused_reasons", "missed", "made_by"), _COUNTED),
        "local_files": _list(_record(file=_TEXT, reason=_TEXT, ms=_MILLIS)),
        "before": _or_null(_ref("Build")),
    }


def _of_compile() -> dict[str, Schema]:
    texts = ("what", "build", "build_name", "user")
    return {**dict.fromkeys(texts, _TEXT), "at_ms": _MILLIS}


# ---- how schemas are made ------------------------------------------------------------------------


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _record(**properties: Schema) -> Schema:
    """An object that has these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _event(kind: type[FarmEvent]) -> Schema:
    return _record(event={"const": kind.NAME}, **_of_class(kind))


def _of_class(kind: type) -> dict[str, Schema]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: _of(hints[field.name]) for field in fields(kind)}


def _of(hint: Any) -> Schema:
    """Of a field's type."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _of(get_args(hint)[0])
    if origin in (Union, UnionType):
        return _or_null(_of(next(each for each in get_args(hint) if each is not NoneType)))
    if origin is tuple:
        return _list(_of(get_args(hint)[0]))
    if hint is QueueRow:
        return _record(**_of_class(QueueRow))
    return _PLAIN[hint]


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _answers(summary: str, schema: Schema, *, missing: bool = False) -> dict[str, Any]:
    responses = {"200": {"description": summary, "content": _json(schema)}}
    if missing:
        responses["404"] = {"description": "It is not known here."}
    return {"summary": summary, "responses": responses}
