"""The NAT of the built-in network, on packets made by hand."""

import struct

import pytest

from moqvox_client.lab.nat import Nat

CLIENT, SERVER, OTHER = bytes([10, 77, 1, 2]), bytes([10, 77, 0, 1]), "10.77.1.99"


def total(data):
    """Sum 16-bit words as RFC 1071 does; 0xFFFF over data that includes its checksum."""
    data += b"\0" * (len(data) % 2)
    found = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while found >> 16:
        found = (found & 0xFFFF) + (found >> 16)
    return found


def packet(source, target, ports, *, protocol=17, payload=b"words", checked=True):
    size = 8 if protocol == 17 else 20
    if protocol == 17:
        inner = struct.pack("!HHHH", *ports, size + len(payload), 0) + payload
    else:
        inner = struct.pack("!HHIIHHHH", *ports, 1, 2, 5 << 12, 100, 0, 0) + payload
    pseudo = source + target + struct.pack("!BBH", 0, protocol, len(inner))
    at = 6 if protocol == 17 else 16
    checksum = (~total(pseudo + inner) & 0xFFFF) or 0xFFFF
    if checked:
        inner = inner[:at] + checksum.to_bytes(2, "big") + inner[at + 2 :]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(inner), 7, 0, 64, protocol, 0)
    head += source + target
    head = head[:10] + (~total(head) & 0xFFFF).to_bytes(2, "big") + head[12:]
    return head + inner


def is_sound(made):
    source, target, protocol, inner = made[12:16], made[16:20], made[9], made[20:]
    pseudo = source + target + struct.pack("!BBH", 0, protocol, len(inner))
    return total(made[:20]) == 0xFFFF and total(pseudo + inner) == 0xFFFF


def ports_of(made):
    return struct.unpack("!HH", made[20:24])


def test_it_changes_nothing_before_it_is_rebound():
    sent = packet(CLIENT, SERVER, (5000, 4433))
    assert Nat().out(sent) == sent
    assert Nat().back(sent) == sent


@pytest.mark.parametrize("protocol", [17, 6])
@pytest.mark.parametrize("address", ["", OTHER])
def test_a_flow_goes_out_by_another_port_and_its_answers_come_back(protocol, address):
    nat = Nat()
    nat.rebind(address)
    out = nat.out(packet(CLIENT, SERVER, (5000, 4433), protocol=protocol))
    assert is_sound(out)
    assert out[12:16] == (bytes(map(int, address.split("."))) if address else CLIENT)
    port, target = ports_of(out)
    assert target == 4433
    assert port != 5000
    assert nat.out(packet(CLIENT, SERVER, (5000, 4433), protocol=protocol)) == out

    back = nat.back(packet(SERVER, out[12:16], (4433, port), protocol=protocol))
    assert is_sound(back)
    assert back[16:20] == CLIENT
    assert ports_of(back) == (4433, 5000)


def test_what_is_sent_to_an_older_binding_is_dropped():
    nat = Nat()
    assert nat.rebind() is None
    first = ports_of(nat.out(packet(CLIENT, SERVER, (5000, 4433))))[0]
    nat.rebind()
    second = ports_of(nat.out(packet(CLIENT, SERVER, (5000, 4433))))[0]
    assert first != second
    assert nat.back(packet(SERVER, CLIENT, (4433, first))) is None
    assert nat.back(packet(SERVER, CLIENT, (4433, second))) is not None
    assert nat.back(packet(SERVER, CLIENT, (4433, 5000))) is None


def test_a_datagram_without_a_checksum_stays_without():
    nat = Nat()
    nat.rebind(OTHER)
    out = nat.out(packet(CLIENT, SERVER, (5000, 4433), checked=False))
    assert out[26:28] == b"\0\0"


def test_flows_are_bounded():
    nat = Nat()
    nat.rebind()
    kept = [nat.out(packet(CLIENT, SERVER, (port, 4433))) for port in range(1024, 3000)]
    assert sum(made is not None for made in kept) == 1024


def test_other_protocols_pass():
    nat = Nat()
    nat.rebind()
    ping = packet(CLIENT, SERVER, (1, 2))
    ping = ping[:9] + b"\1" + ping[10:]
    assert nat.out(ping) == ping
