"""Runs the Python SDKs through a gateway, or (`--directly`) plainly against the simulator alone.

    python run.py --gateway http://127.0.0.1:4480 --upstream http://127.0.0.1:9100 --relay http://127.0.0.1:9200

Prints a line `ok …` or `FAILED …` for each case, how many connections were cut, and `N passed, M failed`.
"""

import argparse
import random
import sys

import harness
import plain


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstream", required=True, help="the simulator's URL")
    parser.add_argument("--gateway", help="the URL of a server with the routes of tests/e2e/gateway.rs")
    parser.add_argument("--relay", help="the control URL of relay.mjs")
    parser.add_argument("--directly", action="store_true", help="without a gateway: what the SDKs do with the simulator")
    parser.add_argument("--seed", default=str(random.randrange(10**9)), help="where connections are cut")
    parser.add_argument("--only", default="", metavar="PATTERN", help="only the cases whose names match")
    parser.add_argument("--jobs", type=int, default=12, help="cases at a time")
    arguments = parser.parse_args()
    if arguments.directly:
        arguments.gateway = arguments.upstream
        return 0 if harness.run(plain.cases(directly=True), arguments) else 1
    if not (arguments.gateway and arguments.relay):
        parser.error("--gateway and --relay are needed, unless --directly")
    print(f"seed {arguments.seed}", flush=True)
    # These need the package `longwave`, which plain use does not.
    import again
    import ends
    import faults

    cases = [*plain.cases(directly=False), *faults.cases(), *ends.cases(), *again.cases()]
    return 0 if harness.run(cases, arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
