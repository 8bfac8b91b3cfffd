"""TCP-ENO options (RFC 8547, section 4): made, taken apart, and the negotiated TEP."""

KIND = 69
ACKNOWLEDGEMENT = bytes([KIND, 2])
PASSIVE, AWARE, RESERVED = 0x01, 0x02, 0x1C


class IllFormed(Exception):
    pass


def option(*parts):
    """An ENO option of bytes and numbers."""
    contents = b"".join(bytes([part]) if isinstance(part, int) else part for part in parts)
    return bytes([KIND, 2 + len(contents)]) + contents


def with_length(tep, data):
    """A suboption with data behind a length byte (section 4.4)."""
    return bytes([0x80 | len(data) - 1, 0x80 | tep]) + data


def to_the_end(tep, data):
    """A suboption with data that extends to the end of the option."""
    return bytes([0x80 | tep]) + data


class Option:
    """A SYN-form option: the first global suboption, or the implicit 0x00, and (tep, v, data) in order."""

    def __init__(self, raw):
        self.raw, self.globals, self.suboptions = raw, [], []
        contents, at = raw[2:], 0
        while at < len(contents):
            first, length = contents[at], None
            at += 1
            if 0x80 <= first < 0xA0:
                length = (first & 0x1F) + 1
                if at >= len(contents) or contents[at] < 0xA0:
                    raise IllFormed("a length byte without a suboption that has data")
                first = contents[at]
                at += 1
                if at + length > len(contents):
                    raise IllFormed("a length byte beyond the end")
            if first < 0x20:
                self.globals.append(first)
            elif first < 0x80:
                self.suboptions.append((first, False, b""))
            else:
                end = len(contents) if length is None else at + length
                self.suboptions.append((first & 0x7F, True, contents[at:end]))
                at = end
        self.passive = bool(self.globals and self.globals[0] & PASSIVE)
        self.teps = [tep for tep, _, _ in self.suboptions]

    def find(self, tep):
        return next((suboption for suboption in self.suboptions if suboption[0] == tep), None)


def of_segment(segment):
    """The one ENO option of a SYN segment, or None where there is none or several. Raises IllFormed."""
    raw = segment.raw_options(KIND)
    return Option(raw[0]) if len(raw) == 1 else None


def negotiated(host_a, host_b):
    """The last valid TEP of host B's that host A sent too; which data is valid the caller sees."""
    return next((tep for tep in reversed(host_b.teps)
                 if tep in host_a.teps and host_a.teps.count(tep) == 1 and host_b.teps.count(tep) == 1), None)
