"""`detector schema`: valid documents that agree with the codecs."""

import gzip
import json
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from detector.cli.asyncapi import asyncapi_document
from detector.cli.main import build
from topics.names import topics
from topics.schema import RECORDS

ASYNCAPI = Path(__file__).parents[2] / "data" / "asyncapi" / "3.1.0.json.gz"


def schema(*args: str):
    result = CliRunner().invoke(build(), ["schema", *args])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", [*RECORDS, "contract"])
def test_schemas_are_valid_json_schema(name):
    """Every document named in the help is a valid JSON Schema 2020-12."""
    jsonschema.Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize(("name", "record"), [(name, record.__name__) for name, record in RECORDS.items()])
def test_a_record_goes_by_its_own_name_as_well(name, record):
    """As the documentation of the topics calls it."""
    assert schema(record) == schema(name)


def test_json_flag_prints_the_same_document_on_one_line():
    """`--json` changes the shape of the output, not its content."""
    result = CliRunner().invoke(build(), ["schema", "telemetry", "--json"])

    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == schema("telemetry")


def test_unknown_name_is_wrong_use():
    """A name that is not in the list exits with 2 and lists the names."""
    result = CliRunner().invoke(build(), ["schema", "telemetri"])

    assert result.exit_code == 2
    assert "telemetry" in result.stderr


@pytest.mark.parametrize("prefix", ["", "eu."])
def test_asyncapi_document_is_valid(prefix):
    """The document holds against AsyncAPI's own schema of version 3.1.0."""
    with gzip.open(ASYNCAPI) as file:
        validator = jsonschema.Draft7Validator(json.load(file))

    assert [
        error.message for error in validator.iter_errors(schema("asyncapi", "--topic-prefix", prefix))
    ] == []


def test_asyncapi_names_every_public_topic_and_resolves_every_reference():
    """Each declared topic but the internal one is a channel, and no `$ref` leads nowhere."""
    document = asyncapi_document("eu.")
    declared = topics("eu.")

    def references(node):
        if isinstance(node, dict):
            yield from ([node["$ref"]] if "$ref" in node else [])
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    assert {channel["address"] for channel in document["channels"].values()} == {
        topic.name for topic in declared.all() if topic is not declared.snapshots
    }
    for reference in references(document):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
