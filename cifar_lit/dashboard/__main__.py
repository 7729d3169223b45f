"""The command: `python -m cifar_lit.dashboard --project NAME`; `--help` names the other options."""

import argparse
import json
import os
import re
import sys

from cifar_lit import terminal
from cifar_lit.dashboard import views


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cifar_lit.dashboard",
        description="Two workspaces and a report in a W&B project, which compare the runs of logger=wandb. Pushed again, they are"
        " written over.",
    )
    parser.add_argument("--project", default="cifar_lit", help="W&B's project (default: cifar_lit, as in conf/logger/wandb.yaml)")
    parser.add_argument("--entity", help="user or team (default: that of the API key)")
    parser.add_argument("--group", metavar="SWEEP", help="only the runs of one sweep, by W&B's group: sweep/2026-11-20_18-21-34")
    parser.add_argument(
        "--data",
        default=views.DATA,
        metavar="NAME",
        help="only the runs on these images, by the name in summary.json: cifar100 (default), folder or synthetic",
    )
    parser.add_argument(
        "--fingerprint",
        metavar="HEX",
        help="only the runs on the very images with this data_fingerprint in summary.json; for folders, which share a name",
    )
    parser.add_argument("--print", action="store_true", help="write the JSON to standard output, and push nothing")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status: 1 where nothing could be pushed."""
    parser = _parser()
    given = parser.parse_args(arguments)
    for option in ("project", "entity", "group", "data"):
        value = getattr(given, option)
        if value is not None and (not value.strip() or (option != "group" and "/" in value)):
            parser.error(f"--{option} {value!r}: a name, without a slash" if option != "group" else "--group: it is empty")
    if given.fingerprint is not None and not re.fullmatch(r"[0-9a-f]{16}", given.fingerprint):
        parser.error(f"--fingerprint {given.fingerprint!r}: sixteen digits of 0-9 and a-f, as in summary.json")
    chosen = views.Chosen(given.group, given.data, given.fingerprint)
    if given.print:
        print(json.dumps(views.plain(given.project, given.entity or "", chosen), indent=2))
        return 0
    from cifar_lit.dashboard import push  # imports W&B's client, which --print does without

    try:
        for address in push.push(given.project, given.entity, chosen):
            print(address)
    except push.PushError as error:
        return terminal.failed(error)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # as Python ends, W&B's client waits for its service, which may still be waiting for a server
