/** The facts of Opus packets (RFC 6716, section 3) and Ogg Opus files of them (RFC 7845). */

import { MediaError } from "./errors.js";
import { concat } from "./varint.js";

/** Opus's own clock, which all of this runs at. */
export const SAMPLE_RATE = 48_000;
/** 20 ms. */
export const FRAME_SAMPLES = 960;

const MAX_PACKET_SAMPLES = 5_760;
const SILK = [480, 960, 1920, 2880];
const CELT = [120, 240, 480, 960];
const HYBRID = SILK.slice(0, 2);
const LENGTHS = [SILK, SILK, SILK, HYBRID, HYBRID, CELT, CELT, CELT, CELT].flat();

/** A packet's length at 48 kHz per channel, read from its first two bytes. */
export function packetSamples(packet) {
  if (!packet.length) throw new MediaError("an opus packet has at least one byte, got none");
  const code = packet[0] & 0x3;
  if (code === 3 && packet.length < 2) {
    throw new MediaError("an opus packet of code 3 ends before its frame count");
  }
  const count = code === 3 ? packet[1] & 0x3f : code === 0 ? 1 : 2;
  const samples = count * LENGTHS[packet[0] >> 3];
  if (samples < 1 || samples > MAX_PACKET_SAMPLES) {
    throw new MediaError(
      `an opus packet holds 1 to ${MAX_PACKET_SAMPLES} samples, this one claims ${samples}`,
    );
  }
  return samples;
}

/** A packet's length in microseconds; exact. */
export const packetDurationUs = (packet) => (packetSamples(packet) * 125) / 6;

const CRC = new Uint32Array(256).map((_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc & 0x80000000 ? 0x04c11db7 : 0);
  return crc >>> 0;
});

function checksum(bytes) {
  let crc = 0;
  for (const byte of bytes) crc = (crc << 8) ^ CRC[(crc >>> 24) ^ byte];
  return crc >>> 0;
}

/** One Ogg page (RFC 3533, section 6) of whole packets. */
function page({ packets, granule, serial, sequence, flags }) {
  const lacing = packets.flatMap((packet) => [
    ...new Array(Math.floor(packet.length / 255)).fill(255),
    packet.length % 255,
  ]);
  const head = new Uint8Array(27 + lacing.length);
  const view = new DataView(head.buffer);
  head.set(new TextEncoder().encode("OggS"));
  head[5] = flags;
  view.setBigInt64(6, BigInt(granule), true);
  view.setUint32(14, serial, true);
  view.setUint32(18, sequence, true);
  head[26] = lacing.length;
  head.set(lacing, 27);
  const bytes = concat([head, ...packets]);
  new DataView(bytes.buffer).setUint32(22, checksum(bytes), true);
  return bytes;
}

function headers(channels, preSkip) {
  const head = new Uint8Array(19);
  const view = new DataView(head.buffer);
  head.set(new TextEncoder().encode("OpusHead"));
  head[8] = 1;
  head[9] = channels;
  view.setUint16(10, preSkip, true);
  view.setUint32(12, SAMPLE_RATE, true);
  const vendor = new TextEncoder().encode("moqvox");
  const tags = new Uint8Array(8 + 4 + vendor.length + 4);
  tags.set(new TextEncoder().encode("OpusTags"));
  new DataView(tags.buffer).setUint32(8, vendor.length, true);
  tags.set(vendor, 12);
  return [head, tags];
}

const PACKETS_A_PAGE = 20;

/** A whole Ogg Opus file of packets as they crossed the wire; nothing is encoded again. */
export function oggOpus(packets, { channels = 1, preSkip = 312, serial = 1 } = {}) {
  const [head, tags] = headers(channels, preSkip);
  const pages = [
    page({ packets: [head], granule: 0, serial, sequence: 0, flags: 0x2 }),
    page({ packets: [tags], granule: 0, serial, sequence: 1, flags: packets.length ? 0 : 0x4 }),
  ];
  let granule = 0;
  for (let at = 0; at < packets.length; at += PACKETS_A_PAGE) {
    const some = packets.slice(at, at + PACKETS_A_PAGE);
    for (const packet of some) granule += packetSamples(packet);
    const flags = at + PACKETS_A_PAGE >= packets.length ? 0x4 : 0;
    pages.push(page({ packets: some, granule, serial, sequence: pages.length, flags }));
  }
  return concat(pages);
}
