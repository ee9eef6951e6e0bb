"""`detector schema NAME`: machine-readable descriptions of the surface."""

import typer

from detector.cli.output import print_json, wrong_use


def schema(
    name: str = typer.Argument(..., metavar="NAME", help="What to describe; see the list above."),
    json_output: bool = typer.Option(False, "--json", help="One line instead of indented."),
    topic_prefix: str = typer.Option("", help="Topic prefix of the installation, for asyncapi."),
) -> None:
    """Print the JSON Schema of a record or of the contract file, or the AsyncAPI document.

    \b
    Names: contract, telemetry, evaluation, control, owner, override, ack, asyncapi

    \b
    detector schema telemetry
    detector schema contract > contract.schema.json
    """
    from topics.schema import RECORDS, json_schema

    name = next((short for short, record in RECORDS.items() if record.__name__ == name), name)
    if name in RECORDS:
        document = json_schema(name)
    elif name == "contract":
        from detector.contract.schema import contract_schema

        document = contract_schema()
    elif name == "asyncapi":
        from detector.cli.asyncapi import asyncapi_document

        document = asyncapi_document(topic_prefix)
    else:
        wrong_use(f"no schema named {name!r}; there are: contract, {', '.join(RECORDS)}, asyncapi")
    if json_output:
        print_json(document)
    else:
        import json

        print(json.dumps(document, indent=2))
