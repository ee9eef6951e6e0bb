"""Apache Kafka's jars, fetched once with Maven and kept in the user's cache directory.

The cache is `$XDG_CACHE_HOME/llm-fallback-detector/kafka-VERSION`, else the same under
`~/.cache`: about 55 MB. A folder there is complete: it is filled beside its place and
renamed, with other processes locked out.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KAFKA_VERSION = "4.2.0"
MIN_JAVA = 17  # what Kafka 4's broker is compiled for

_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_FETCH_TIMEOUT_S = 480.0

# kafka-tools carries StorageTool, and the last one lets the broker's slf4j calls reach log4j.
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>detector.local</groupId>
  <artifactId>local-kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.3</version>
    </dependency>
  </dependencies>
</project>
"""


class LocalKafkaUnavailableError(RuntimeError):
    """This machine cannot run Kafka from its jars; the message says what is missing."""


def cache_dir() -> Path:
    """Where the jars are kept, whether or not they are there yet."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "llm-fallback-detector" / f"kafka-{KAFKA_VERSION}"


def missing() -> str | None:
    """What keeps this machine from running Kafka from its jars, in one sentence; None if nothing does."""
    java = shutil.which("java")
    if java is None:
        return "java is not on the path"
    version = _java_version(java)
    if version is None or version < MIN_JAVA:
        return f"java is version {version or 'unknown'}, Kafka {KAFKA_VERSION} needs {MIN_JAVA}"
    if not cache_dir().is_dir() and shutil.which("mvn") is None:
        return f"mvn is not on the path and the jars are not in {cache_dir()}"
    return None


def fetch() -> Path:
    """The folder with the jars; downloads them when they are not cached (8 s on a fast line).

    Raises:
        LocalKafkaUnavailableError: no Java, no Maven, or Maven could not download.
    """
    lack = missing()
    if lack is not None:
        raise LocalKafkaUnavailableError(lack)
    place = cache_dir()
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with _locked(place.parent / ".lock"):
        if not place.is_dir():
            _download(place)
    return place


def _download(place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        pom, jars = Path(scratch) / "pom.xml", Path(scratch) / "jars"
        pom.write_text(_POM, encoding="utf-8")
        arguments = [
            "mvn",
            "-q",
            "-B",
            "-f",
            str(pom),
            _PLUGIN,
            f"-DoutputDirectory={jars}",
            "-DincludeScope=runtime",
        ]
        try:
            done = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_FETCH_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise LocalKafkaUnavailableError(f"mvn did not finish within {_FETCH_TIMEOUT_S:g} s") from late
        if done.returncode or not any(jars.glob("kafka_2.13-*.jar")):
            said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            raise LocalKafkaUnavailableError(f"mvn could not download Kafka {KAFKA_VERSION}:\n{said}")
        jars.rename(place)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _java_version(java: str) -> int | None:
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    return int(found[1]) if found else None
