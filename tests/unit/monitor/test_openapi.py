"""The OpenAPI document against what the routes answer, and against the page of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from tests.unit.monitor.test_server import client, fed
from zcc.monitor import openapi
from zcc.monitor.server import Feed, make_app

DOCUMENT = openapi.document()
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,),
    "object": (dict,), "null": (type(None),),
}  # fmt: skip


def faults(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """Where a value is not what the schema says; as much of JSON Schema as the document uses."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        return faults(value, DOCUMENT["components"]["schemas"][name], at)
    if "anyOf" in schema:
        tried = [faults(value, each, at) for each in schema["anyOf"]]
        return [] if [] in tried else tried[0]
    if "const" in schema or "enum" in schema:
        allowed = schema.get("enum", [schema.get("const")])
        return [] if value in allowed else [f"{at}: {value!r} is none of {allowed}"]
    kinds = _TYPES[schema["type"]]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        return [f"{at}: {value!r} is no {schema['type']}"]
    if isinstance(value, list):
        items = schema.get("prefixItems") or [schema["items"]] * len(value)
        wrong = [] if len(items) == len(value) else [f"{at}: {len(value)} items"]
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            wrong.append(f"{at}: {len(value)} items")
        pairs = zip(value, items, strict=False)
        return wrong + [
            each for i, pair in enumerate(pairs) for each in faults(*pair, f"{at}[{i}]")
        ]
    if isinstance(value, dict):
        return _faults_of_object(value, schema, at)
    return []


def _faults_of_object(value: dict[str, Any], schema: dict[str, Any], at: str) -> list[str]:
    known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    wrong = [f"{at}: {name} lacks" for name in schema.get("required", ()) if name not in value]
    for name, each in value.items():
        if name in known:
            wrong += faults(each, known[name], f"{at}.{name}")
        elif isinstance(more, dict):
            wrong += faults(each, more, f"{at}.{name}")
        elif not more:
            wrong.append(f"{at}: {name} is not told of")
    return wrong


def answer_of(path: str, method: str = "get") -> dict[str, Any]:
    content = DOCUMENT["paths"][path][method]["responses"]["200"]["content"]
    schema: dict[str, Any] = content["application/json"]["schema"]
    return schema


@pytest.fixture(scope="module")
def feed() -> Feed:
    return fed(300)


def test_every_route_of_the_api_stands_in_it_and_no_other(feed: Feed) -> None:
    routes = [
        (route.path.replace(":path", ""), method.lower())
        for route in make_app(feed).routes
        if isinstance(route, Route) and route.path.startswith("/api/")
        for method in (route.methods or set()) - {"HEAD"}
    ]
    told = [(path, method) for path, of in DOCUMENT["paths"].items() for method in of]
    assert sorted(routes) == sorted(told)


def test_what_the_routes_answer_is_what_it_says(feed: Feed) -> None:
    reader = client(feed)
    state = reader.get("/api/state").json()
    assert faults(state, answer_of("/api/state")) == []
    assert state["queue"]["rows"]
    assert {each["level"] for each in state["troubles"]} == {"bad", "warn", "note"}
    builds = reader.get("/api/builds").json()
    assert faults(builds, answer_of("/api/builds")) == []
    assert len(builds["builds"]) == 8
    for build in builds["builds"]:
        page = reader.get(f"/api/builds/{build['id']}").json()
        assert faults(page, answer_of("/api/builds/{id}")) == []
    for text in ("cpp", "version", "0"):
        found = reader.get("/api/why", params={"file": text}).json()
        assert found["compiles"]
        assert faults(found, answer_of("/api/why")) == []


def test_what_an_empty_farm_answers_is_what_it_says() -> None:
    reader = client(Feed(run=1))
    assert faults(reader.get("/api/state").json(), answer_of("/api/state")) == []
    assert faults(reader.get("/api/builds").json(), answer_of("/api/builds")) == []


def test_it_is_served_and_each_reference_leads_somewhere() -> None:
    served = client().get("/api/openapi.json").json()
    assert served == DOCUMENT
    named = set(str(DOCUMENT).split("#/components/schemas/")[1:])
    schemas = DOCUMENT["components"]["schemas"]
    assert {each.partition("'")[0] for each in named} == set(schemas)


def test_a_value_that_is_not_as_told_is_found() -> None:
    """The check itself."""
    state = client().get("/api/state").json()
    assert faults(state | {"now_s": "late"}, answer_of("/api/state"))
    assert faults(state | {"more": 1}, answer_of("/api/state"))
    assert faults({}, answer_of("/api/builds"))


def test_the_reference_has_a_row_for_each_path() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "monitor.md").read_text()
    for path in DOCUMENT["paths"]:
        assert f"`{path.replace('{id}', 'ID')}" in page, path
