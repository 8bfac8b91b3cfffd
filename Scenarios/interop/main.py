"""main.py NAMESPACE ADDRESS4 ADDRESS6 MODULES CONTROL... : runs the cases of those modules (comma between them) against the daemon of that
network namespace, which reaches the TUN device `peers` of this one. CONTROL is the tcpcryptctl command. CASES=WORD,... runs only
functions whose names have one of the words."""
import importlib
import os
import sys

import lab
from wire import Tun


def main():
    namespace, address4, address6, modules, *control = sys.argv[1:]
    lab.Lab.shared = lab.Shared(Tun("peers"), namespace, (address4, address6), control)
    for module in modules.split(","):
        importlib.import_module(module)
    wanted = os.environ.get("CASES", "").split(",")
    jobs = [(number, entry) for number, entry in enumerate(lab.CASES) if any(word in entry[1].__name__ for word in wanted)]
    # What waits for timeouts goes first.
    jobs.sort(key=lambda job: job[1][1].__name__ not in lab.SLOW)
    sys.exit(lab.run(jobs, int(os.environ.get("AT_ONCE", "12"))) > 0)


main()
