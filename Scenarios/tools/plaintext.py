"""plaintext.py fields | plaintext.py PORT < ROWS > STREAM | plaintext.py PORT sums < ROWS: what the server on PORT sent over one MPTCP
connection, put together from what tshark decrypted of its subflows.

ROWS are those of `tshark -T fields` with the arguments that `plaintext.py fields` prints: pieces of plaintext with their places in the
plaintext of the subflow, and the DSS options of frames, which say where in the stream of the connection the bytes of a subflow belong
(RFC 8684 section 3.3). A byte that no subflow has is an error.

The sums are two numbers: how many bytes the mappings are of, each counted once, and how many the receiver's frames acknowledge.
"""
import sys

FIELDS = [
    "tcp.stream", "tcp.srcport", "tcpcrypt.dss.dsn", "tcpcrypt.dss.ssn", "tcpcrypt.dss.length", "tcpcrypt.data.offset",
    "tcpcrypt.data", "tcpcrypt.dss.ack",
]


def numbers(text):
    return [int(word) for word in text.split(",") if word]


def read(rows, port):
    """The plaintext of each subflow, the mappings (DSN, subflow, offset, length), both from the server, and acknowledgements from the client."""
    plain, mappings, acknowledged = {}, set(), []
    for row in rows:
        stream, source, sequences, places, lengths, offsets, data, acks = row.rstrip("\n").split("\t")
        if source != port:
            acknowledged += numbers(acks)
            continue
        for sequence, place, length in zip(numbers(sequences), numbers(places), numbers(lengths)):
            # Place 0 is that of a DATA_FIN alone.
            if place > 0:
                mappings.add((sequence, stream, place - 1, length))
        for offset, piece in zip(numbers(offsets), data.split(",")):
            plain.setdefault(stream, {})[offset] = bytes.fromhex(piece)
    return {stream: whole(pieces) for stream, pieces in plain.items()}, sorted(mappings), acknowledged


def whole(pieces):
    text = b""
    for offset, piece in sorted(pieces.items()):
        if offset != len(text):
            sys.exit(f"a piece begins at {offset}, the one before ends at {len(text)}")
        text += piece
    return text


if sys.argv[1] == "fields":
    print(" ".join("-e " + field for field in FIELDS))
    sys.exit()

plain, mappings, acknowledged = read(sys.stdin, sys.argv[1])
begin = mappings[0][0]
if sys.argv[2:] == ["sums"]:
    count, end = 0, begin
    for sequence, _, _, length in mappings:
        count += max(0, sequence + length - max(end, sequence))
        end = max(end, sequence + length)
    print(count, max(acknowledged) - begin)
    sys.exit()
result = b""
for sequence, stream, offset, length in mappings:
    piece = plain.get(stream, b"")[offset:offset + length]
    at = sequence - begin
    if at > len(result):
        sys.exit(f"no subflow has bytes {len(result)} to {at}")
    # Sent again on another subflow, or mapped again.
    result += piece[len(result) - at:]
sys.stdout.buffer.write(result)
print(f"{len(plain)} subflows with {' and '.join(str(len(text)) for text in plain.values())} bytes", file=sys.stderr)
