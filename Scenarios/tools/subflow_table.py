"""subflow_table.py [--without EARLIER.json] [--check WHAT] A.json B.json: the MPTCP subflows of host a, each beside its
other end at b, as a table; with --check nothing but whether WHAT holds:

encrypted       at least two subflows, all of them encrypted at both ends
origins:X,Y     the first subflow's origin is X, every other one's is Y
sessions        session IDs agree at both ends and differ between subflows
bytes:N         each subflow carried at least N plaintext bytes
"""
import json
import sys


def subflows(path):
    with open(path, encoding="utf-8") as file:
        return [(connection, subflow) for connection in json.load(file) for subflow in connection["subflows"]]


def show(pairs):
    for number, (here, there) in enumerate(pairs, 1):
        agree = "agree" if here["session_id"] == (there or {}).get("session_id") else "DIFFER"
        carried, wire = (here[f"{kind}_bytes_in"] + here[f"{kind}_bytes_out"] for kind in ("plain", "wire"))
        print(f"  subflow {number}  {here['local']} → {here['remote']}  {here['state']}  {here['origin']}")
        print(f"    TEP {here['tep']}   AEAD {here['aead']}   roles {here['role']}/{(there or {}).get('role')}"
              f"   secret index {here['secret_index']}")
        print(f"    session ID client {here['session_id']}")
        print(f"               server {(there or {}).get('session_id')}   {agree}")
        print(f"    {carried:,} bytes of data in {wire:,} bytes on the wire")


def holds(what, pairs):
    what, _, value = what.partition(":")
    ids = [here["session_id"] for here, _ in pairs]
    if what == "encrypted":
        return len(pairs) >= 2 and all(end and end["state"] == "encrypted" for pair in pairs for end in pair)
    if what == "origins":
        return len(pairs) >= 2 and [here["origin"] for here, _ in pairs] == \
            value.split(",")[:1] + value.split(",")[1:] * (len(pairs) - 1)
    if what == "sessions":
        return len(pairs) >= 2 and all(there and here["session_id"] == there["session_id"] for here, there in pairs) and \
            all(ids) and len(set(ids)) == len(ids)
    if what == "bytes":
        return len(pairs) >= 2 and all(here["plain_bytes_in"] >= int(value) for here, _ in pairs)
    raise SystemExit(f"unknown check {what}")


def main():
    words, options = sys.argv[1:], {}
    while words and words[0].startswith("--"):
        options[words[0]] = words[1]
        words = words[2:]
    earlier = {(s["local"], s["remote"]) for _, s in subflows(options["--without"])} if "--without" in options else set()
    others = {(s["remote"], s["local"]): s for _, s in subflows(words[1])}
    pairs = [(s, others.get((s["local"], s["remote"]))) for connection, s in subflows(words[0])
             if connection["kind"] == "mptcp" and (s["local"], s["remote"]) not in earlier]
    pairs.sort(key=lambda pair: pair[0]["origin"] == "join")
    if "--check" in options:
        if not holds(options["--check"], pairs):
            print(f"{options['--check']} does not hold for", json.dumps(pairs))
            return 1
        return 0
    show(pairs)
    return 0 if pairs else 1


sys.exit(main())
