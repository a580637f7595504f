#!/usr/bin/env python3
"""Runs every example for real and says which of them hold.

    python3 examples/check.py [--bin PATH] [NAME…]

For each example this starts a `longwave` server of its own on a free port with an empty data folder, then runs the
example's `check.mjs`, which starts the example's programs, opens its page in Chromium and asserts on what arrives.
It prints a line for each example and `N passed, N failed` at the end. What an example needs is installed first:
npm packages by `npm ci`, Python packages into a virtual environment under `target/`, Rust programs by `cargo build`.

It leaves out: building the server (`cargo build`), and installing Node, Chromium and curl, whose absence it reports.
Read `check_example` first.
"""

import argparse
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

EXAMPLES = pathlib.Path(__file__).resolve().parent
ROOT = EXAMPLES.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
NOT_EXAMPLES = {"harness", "node_modules"}

# Limits for a hang, not for a speed: far above what a loaded two-core machine needs.
SERVER_START_SECONDS = 60
CHECK_SECONDS = 300
STOP_SECONDS = 20


def main() -> int:
    # So that whatever was started is also ended when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    arguments = parse_arguments()
    examples = sorted(p for p in EXAMPLES.iterdir() if p.is_dir() and p.name not in NOT_EXAMPLES and p.name[0] not in "._")
    unknown = set(arguments.names) - {example.name for example in examples}
    if unknown:
        sys.exit(f"no such example: {', '.join(sorted(unknown))}")
    if arguments.names:
        examples = [example for example in examples if example.name in arguments.names]

    binary = find_binary(arguments.bin)
    require_tools()
    install_npm_packages()

    passed = failed = 0
    for example in examples:
        started = time.monotonic()
        try:
            check_example(example, binary)
        except CheckFailed as failure:
            failed += 1
            print(f"FAILED {example.name}\n{failure}", flush=True)
        else:
            passed += 1
            print(f"ok {example.name} ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


class CheckFailed(Exception):
    """An example that does not hold; the message is what a person needs to mend it."""


def check_example(example: pathlib.Path, binary: pathlib.Path) -> None:
    for needed in ("README.md", "check.mjs"):
        if not (example / needed).is_file():
            raise CheckFailed(f"{example.name}/{needed} is missing")
    environment = dict(os.environ, EXAMPLE_TARGET=str(TARGET))
    if (example / "requirements.txt").is_file():
        environment["EXAMPLE_PYTHON"] = str(virtual_environment(example))
    # The server that is checked comes before any other `longwave` that was built beside the example's programs.
    programs = [binary.parent, *(build_crate(manifest) for manifest in sorted(example.glob("*/Cargo.toml")))]
    environment["PATH"] = os.pathsep.join([*map(str, programs), os.environ["PATH"]])

    with tempfile.TemporaryDirectory(prefix=f"longwave-{example.name}-") as folder:
        with Server(binary, pathlib.Path(folder)) as server:
            environment["LONGWAVE_SERVER"] = server.url
            environment["EXAMPLE_FOLDER"] = folder
            output = run_check(example, environment)
            if output is not None:
                raise CheckFailed(f"{output}\n--- the server said:\n{server.output()}")


def run_check(example: pathlib.Path, environment: dict[str, str]) -> str | None:
    """The check's output when it failed, else nothing."""
    check = subprocess.Popen(
        ["node", "check.mjs"],
        cwd=example,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        output, _ = check.communicate(timeout=CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{end(check)}\ngave up after {CHECK_SECONDS} s"
    finally:
        end(check)
    return None if check.returncode == 0 else output


def end(process: subprocess.Popen) -> str:
    """Ends a process that may be running and returns the rest of its output. A check ends its own children first."""
    if process.poll() is not None:
        return ""
    process.terminate()
    try:
        return process.communicate(timeout=STOP_SECONDS)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]


class Server:
    """A `longwave` process of our own, on a free port, ended on leaving the `with` block."""

    def __init__(self, binary: pathlib.Path, folder: pathlib.Path) -> None:
        self.lines: list[str] = []
        self.url = ""
        self.listening = threading.Event()
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", "--data", folder / "data"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.reader = threading.Thread(target=self.read_output, daemon=True)
        self.reader.start()

    def __enter__(self) -> "Server":
        self.listening.wait(SERVER_START_SECONDS)
        if not self.url:
            self.stop()
            raise CheckFailed(f"the server did not say `listening on http://…`:\n{self.output()}")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def read_output(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
            said = re.search(r"listening on (http://[0-9.]+:\d+)", line)
            if said and not self.url:
                self.url = said[1]
                self.listening.set()
        # The server is gone: nobody need wait any longer for its address.
        self.listening.set()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.reader.join()

    def output(self) -> str:
        return "".join(self.lines[-60:])


def virtual_environment(example: pathlib.Path) -> pathlib.Path:
    """The Python of a virtual environment that holds exactly the example's requirements."""
    requirements = example / "requirements.txt"
    folder = TARGET / "example-venvs" / example.name
    stamp = folder / "installed.sha256"
    python = folder / "bin" / "python"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    install([sys.executable, "-m", "venv", str(folder)], f"make a virtual environment for {example.name}")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install([*pip, "--requirement", str(requirements)], f"install {requirements.relative_to(ROOT)}")
    stamp.write_text(wanted)
    return python


def build_crate(manifest: pathlib.Path) -> pathlib.Path:
    """Builds an example's Rust program and returns the folder that it is in."""
    command = ["cargo", "build", "--quiet", "--target-dir", str(TARGET), "--manifest-path", str(manifest)]
    install(command, f"build {manifest.parent.relative_to(ROOT)}")
    return TARGET / "debug"


def install_npm_packages() -> None:
    stamp = EXAMPLES / "node_modules" / ".installed.sha256"
    wanted = hashlib.sha256((EXAMPLES / "package-lock.json").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    install(["npm", "ci", "--no-audit", "--no-fund"], "run `npm ci` in examples/", cwd=EXAMPLES)
    stamp.write_text(wanted)


def install(command: list[str], purpose: str, cwd: pathlib.Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"could not {purpose}:\n{done.stdout}")


def find_binary(given: str | None) -> pathlib.Path:
    if given:
        binary = pathlib.Path(given).resolve()
        if not binary.is_file():
            sys.exit(f"there is no server at {binary}")
        return binary
    for profile in ("release", "debug"):
        binary = TARGET / profile / "longwave"
        if binary.is_file():
            return binary
    sys.exit("no server to run: `cargo build` first, or name one with --bin or LONGWAVE_BIN")


def require_tools() -> None:
    missing = [tool for tool in ("node", "npm", "curl", "bash", "tail") if not shutil.which(tool)]
    if not os.environ.get("CHROMIUM") and not shutil.which("chromium"):
        missing.append("chromium")
    if missing:
        sys.exit(f"the examples need {', '.join(missing)}: on Debian, `apt-get install nodejs npm curl chromium`")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs every example for real and says which of them hold.")
    parser.add_argument("--bin", default=os.environ.get("LONGWAVE_BIN"), help="the server (default: LONGWAVE_BIN, else target/)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these examples")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
