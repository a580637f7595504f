"""A job worth waiting for: compresses a folder's files, writes their SHA-256, and publishes how far it is.

    python3 archive.py FOLDER OUTPUT [--job NAME]

Progress goes to the topic `jobs/NAME`, an event for each hundredth of the bytes. The topic is ended with the reason
`done` or `error`, so whoever watches knows that nothing more comes, and why. Needs nothing but Python.
"""

import argparse
import gzip
import hashlib
import json
import os
import pathlib
import sys
import urllib.request
import uuid

LONGWAVE = os.environ.get("LONGWAVE_SERVER", "http://127.0.0.1:4480")
CHUNK_BYTES = 64 * 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--job", default=uuid.uuid4().hex[:8])
    arguments = parser.parse_args()

    job = Job(arguments.job)
    print(f"watch it at {job.url}", flush=True)
    try:
        result = archive(arguments.folder, arguments.output, job)
    except Exception as error:
        job.publish("failed", {"message": str(error)}, end="error")
        sys.exit(f"failed: {error}")
    job.publish("finished", result, end="done")
    print(f"{result['files']} files, {result['bytes_before']} bytes before, {result['bytes_after']} after")


class Job:
    """The topic that a job reports to."""

    def __init__(self, name: str) -> None:
        self.url = f"{LONGWAVE}/topics/jobs/{name}"

    def publish(self, kind: str, data: dict, end: str | None = None) -> None:
        request = urllib.request.Request(
            f"{self.url}?end={end}" if end else self.url,
            data=json.dumps(data).encode(),
            headers={"Content-Type": "application/json", "Event-Type": kind},
        )
        with urllib.request.urlopen(request, timeout=30):
            pass


def archive(folder: pathlib.Path, output: pathlib.Path, job: Job) -> dict:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if not files:
        raise ValueError(f"there are no files in {folder}")
    total = sum(path.stat().st_size for path in files)
    output.mkdir(parents=True, exist_ok=True)
    job.publish("started", {"files": len(files), "total": total})

    done = reported = after = 0
    with open(output / "SHA256SUMS", "w") as sums:
        for path in files:
            digest = hashlib.sha256()
            target = output / f"{path.name}.gz"
            with open(path, "rb") as source, gzip.open(target, "wb") as compressed:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    compressed.write(chunk)
                    done += len(chunk)
                    if 100 * done // total > reported:
                        reported = 100 * done // total
                        job.publish("progress", {"percent": reported, "file": path.name})
            after += target.stat().st_size
            sums.write(f"{digest.hexdigest()}  {path.name}\n")
    return {"files": len(files), "bytes_before": total, "bytes_after": after}


if __name__ == "__main__":
    main()
