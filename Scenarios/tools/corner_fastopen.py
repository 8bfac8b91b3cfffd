"""TCP Fast Open on at both ends. What rides on a SYN is not encrypted, so this group is not searched for the marker."""
import functools

from corner_openings import fast_open
from pair import case

CASES = []
case = functools.partial(case, CASES)


@case()
def message(w):
    """Fast Open by MSG_FASTOPEN: a cookie is asked for, then used"""
    fast_open(w, "sendto", 600)


@case()
def connect(w):
    """Fast Open by TCP_FASTOPEN_CONNECT"""
    fast_open(w, "connect", 600)


@case()
def nothing_fits(w):
    """Fast Open with more data than a SYN takes"""
    fast_open(w, "sendto", 5000)


@case(slow=9)
def syn_lost(w):
    """Fast Open, and the SYN with data is lost"""
    fast_open(w, "sendto", 600, ("-m", "length", "--length", "200:"))
