"""query.py EXPRESSION [FILTER] < JSON: evaluates a Python expression over the document.

`d` is the document; where it is the array of `tcpcryptctl connections --json`, `s` is the list of all subflows,
each with its connection under the key "connection", and `enc` those of them that are encrypted. FILTER, an expression
over a subflow `x`, narrows both.
"""
import json
import sys

d = json.load(sys.stdin)
s = []
if isinstance(d, list):
    for connection in d:
        for subflow in connection.get("subflows", []):
            subflow["connection"] = connection
            if len(sys.argv) < 3 or eval(sys.argv[2], {"x": subflow}):
                s.append(subflow)
enc = [subflow for subflow in s if subflow.get("state") == "encrypted"]
names = {"d": d, "s": s, "enc": enc, "json": json}
value = eval(sys.argv[1], names)
if isinstance(value, (list, set, tuple)):
    print("\n".join(str(item) for item in value))
elif isinstance(value, bool):
    print("true" if value else "false")
    sys.exit(0 if value else 1)
else:
    print(value)
