"""corners.py PREFIX A4 B4 A6 B6 GROUP [CASE...]: corners of TCP, each in ordinary TCP and encrypted, one against the other.

Every function of the module corner_GROUP that is marked with @case is run for TCP and MPTCP over IPv4 and for TCP over IPv6, to
a port that the daemons exclude (7000 and up) and to one that they encrypt (8000 and up). What its applications see must be the
same, and is what is asserted here: a line `ok - ...` or `not ok - ...` for each case, and where they differ what either said.
"""
import concurrent.futures
import importlib
import os
import sys
import time

import pair

# A group that is run again takes other ports: addresses of the first time are in TIME-WAIT.
OFFSET = int(os.environ.get("CORNERS_OFFSET", "0"))
PLAIN, ENCRYPTED = 7000 + OFFSET, 8000 + OFFSET
SETTINGS = [("TCP", 4), ("MPTCP", 4), ("TCP", 6)]


def runs(function):
    for kind, version in SETTINGS:
        if kind in function.kinds and version in function.versions:
            yield kind, version


def main():
    prefix, *addresses, group = sys.argv[1:7]
    wanted = sys.argv[7:]
    cases = importlib.import_module(f"corner_{group}").CASES
    book = dict(zip(("a4", "b4", "a6", "b6"), addresses))
    jobs, number = [], 0
    for function in cases:
        for kind, version in runs(function):
            number += 1
            if not wanted or function.__name__ in wanted:
                jobs.append((number, function, kind, version))

    def judge(job):
        number, function, kind, version = job
        said, seconds = [], []
        for base in PLAIN, ENCRYPTED:
            began = time.monotonic()
            said.append(pair.World(prefix, book, kind, version, base + number).run(function))
            seconds.append(f"{time.monotonic() - began:.1f} s")
        return said, " and ".join(seconds)

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("CORNERS_AT_ONCE", "16"))) as pool:
        # The slow ones first, so that the rest fits beside them.
        order = sorted(jobs, key=lambda job: -job[1].slow)
        results = dict(zip((job[0] for job in order), pool.map(judge, order)))
    for number, function, kind, version in jobs:
        (plain, encrypted), seconds = results[number]
        good = plain == encrypted and not any("WRONG" in line or "exception" in line for line in plain)
        failed += not good
        name = f"{kind} IPv{version}: {function.__doc__}"
        print("ok -" if good else "not ok -", name, flush=True)
        if not good or "CORNERS_SHOW" in os.environ:
            print(f"#   {seconds}; {function.__name__} at ports {PLAIN + number} and {ENCRYPTED + number}")
            # From where they begin to differ.
            first = next((index for index, both in enumerate(zip(plain, encrypted)) if both[0] != both[1]), 0)
            for what, lines in ("plain", plain), ("encrypted", encrypted):
                print(f"#   {what}: {'; '.join(lines[first:])[:500]}", flush=True)
    return failed > 0


sys.exit(main())
