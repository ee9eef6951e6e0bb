"""docker-compose.yml, by the schema of the Compose specification and by what the product needs of it."""

import copy
import json
import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from detector.contract import check_text

ROOT = Path(__file__).parents[2]
SERVICES = ("broker", "redis", "detector", "mirror", "producer", "prometheus", "grafana")
OBSERVING = {"prometheus", "grafana"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schema() -> Validator:
    # The specification's own schema, as a linter's package carries it. Not by import: that would load its
    # command line, which does not load beside the service's click.
    package = distribution("check-jsonschema")
    path = Path(str(package.locate_file("check_jsonschema/builtin_schemas/vendor/compose-spec.json")))
    schema = json.loads(path.read_text(encoding="utf-8"))
    return validator_for(schema)(schema)


def test_it_is_valid_by_the_compose_specification(compose: dict[str, Any], schema: Validator) -> None:
    """The file has no error by the schema, and a misspelt key is one."""
    misspelt = copy.deepcopy(compose)
    misspelt["services"]["broker"]["healthchek"] = {}

    assert [error.message for error in schema.iter_errors(compose)] == []
    assert not schema.is_valid(misspelt)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_tells_its_health(compose: dict[str, Any], name: str) -> None:
    """Each service has a check that runs a command, with an interval and an end to its patience."""
    check = compose["services"][name]["healthcheck"]

    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= check.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_the_health_of_what_it_needs(compose: dict[str, Any], name: str) -> None:
    """Every dependency is a service of the file and is waited for until it is healthy."""
    needs = compose["services"][name].get("depends_on", {})

    assert needs.keys() <= set(SERVICES)
    assert all(need["condition"] == "service_healthy" for need in needs.values())


def test_who_does_not_ask_for_it_gets_nothing_to_observe_with(compose: dict[str, Any]) -> None:
    """Prometheus and Grafana start under the profile alone, and nothing without it waits for them."""
    profiles = {name: service.get("profiles", []) for name, service in compose["services"].items()}
    others = [service for name, service in compose["services"].items() if name not in OBSERVING]

    assert profiles == {name: ["observe"] if name in OBSERVING else [] for name in SERVICES}
    assert not any(OBSERVING & service.get("depends_on", {}).keys() for service in others)


def test_what_is_mounted_from_here_is_there_and_only_read(compose: dict[str, Any]) -> None:
    """A path that does not exist would be made, as an empty folder of root's."""
    volumes = [volume for service in compose["services"].values() for volume in service.get("volumes", [])]
    mounted = [volume.split(":") for volume in volumes if volume.startswith(".")]

    assert mounted
    assert all((ROOT / source).exists() and how == ["ro"] for source, _target, *how in mounted)


def test_the_version_of_every_image_is_pinned(compose: dict[str, Any]) -> None:
    """But for the one that is built here."""
    images = {service["image"] for service in compose["services"].values() if "build" not in service}

    assert all(re.search(r":v?\d+\.\d+", image) for image in images - {"llm-fallback-detector"})


def test_the_detectors_contract_has_no_finding() -> None:
    """What `detector check` would say of the contract in the image is nothing."""
    assert check_text((ROOT / "deploy" / "contract.yaml").read_text(encoding="utf-8")) == []


def test_no_port_is_open_to_other_machines(compose: dict[str, Any]) -> None:
    """Published ports are bound to loopback: nothing here asks for a password."""
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_image_holds_what_is_run_from_it(compose: dict[str, Any]) -> None:
    """What the Dockerfile copies exists and is let into the build, and the commands name the copies."""
    build = compose["services"]["detector"]["build"]
    dockerfile = (ROOT / build["context"] / build["dockerfile"]).read_text(encoding="utf-8")
    copies = [line.split()[1:] for line in dockerfile.splitlines() if re.match(r"COPY (?!--from)", line)]
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sources = [source for *from_, _to in copies for source in from_]
    targets = {to for *_from, to in copies}
    commands = " ".join(
        [*compose["services"]["detector"]["command"], *compose["services"]["producer"]["entrypoint"]]
    )

    assert all((ROOT / source).exists() for source in sources)
    assert all(f"!{source}" in allowed for source in sources)
    assert set(re.findall(r"/(?:etc|opt)/\S+", commands)) <= targets
