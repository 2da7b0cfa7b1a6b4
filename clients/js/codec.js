// The Rookery wire in JavaScript: frames to bytes and back.
//
// Owns the second declaration of every frame (the first is Rust's protocol crate); both are tested
// against protocol/golden.txt. No dependency, no build step: browsers and Node 20+ load it as it is.
// u64 fields are BigInt, other integers are numbers, byte strings are Uint8Array, an absent option
// is null. Field names are those of PROTOCOL.md.

import { OWN_FRAMES } from "./own-frames.js";
import { array, frame, list, option, struct } from "./shapes.js";

export { Audience, OwnKind, ReportReason } from "./own-frames.js";

/** First number of the stream frames: those that `Ack` counts. */
export const FIRST_STREAM = 0xc0;
/** Most bytes of one frame's payload from the server. */
export const MAX_SERVER_FRAME_BYTES = 512 * 1024;
/** Most frames in one WebSocket message. */
export const MAX_FRAMES_PER_MESSAGE = 1024;

export const EntryKind = Object.freeze({ Text: 1, Opaque: 2, Group: 3, Withheld: 16 });
export const ConversationKind = Object.freeze({ Direct: 1, Group: 2 });
export const MarkKind = Object.freeze({ Delivered: 1, Read: 2 });
export const Status = Object.freeze({ Offline: 0, Online: 1, Away: 2 });
export const Direction = Object.freeze({ Before: 1, After: 2 });
export const Role = Object.freeze({ Member: 1, Admin: 2, Owner: 3 });
export const GroupAction = Object.freeze({
  Create: 1,
  Rename: 2,
  SetAvatar: 3,
  Add: 4,
  Remove: 5,
  Leave: 6,
  SetRole: 7,
  Join: 8,
  ResetLink: 9,
  CloseLink: 10,
  SetHistory: 11,
});

/** The bytes are not what the protocol says. */
export class CodecError extends Error {
  name = "CodecError";
}

// ---- types --------------------------------------------------------------------------------------

const Resume = struct({ session: "u64", secret: array(16), received: "u64" });
const Cursor = struct({ epoch: "u32", stamp: array(12) });
const ListCursor = struct({ active_ms: "u64", conversation: "u64" });
const Entry = struct({
  seq: "u64",
  sender: "u64",
  device: "u64",
  time_ms: "u64",
  client_msg_id: array(16),
  kind: "u8",
  body: "bytes",
});
const Member = struct({
  user: "u64",
  name: "string",
  role: "u8",
  delivered: "u64",
  read: "u64",
});
const ConversationInfo = struct({
  conversation: "u64",
  kind: "u8",
  title: "string",
  members: list(Member),
  head: "u64",
  floor: "u64",
  active_ms: "u64",
  last: option(Entry),
});
const FoundUser = struct({ user: "u64", name: "string" });
/** The body of a change of a group. */
export const GroupChange = struct({ action: "u8", users: list("u64"), value: "u8", text: "string" });
const Limits = struct({
  body_bytes: "u32",
  frame_bytes: "u32",
  message_bytes: "u32",
  sends_in_flight: "u16",
  requests_in_flight: "u16",
  watched_users: "u16",
  window_bytes: "u32",
});



/** Every frame by name: its number and its fields in wire order. */
export const FRAMES = Object.freeze({
  Hello: frame(0x01, {
    versions: list("u16"),
    token: "string",
    resume: option(Resume),
    agent: "string",
    window_bytes: "u32",
  }),
  Ping: frame(0x02, { nonce: "u32" }),
  Ack: frame(0x03, { received: "u64" }),
  Sync: frame(0x04, { request: "u32", cursor: option(Cursor) }),
  Send: frame(0x05, {
    request: "u32",
    conversation: "u64",
    client_msg_id: array(16),
    retry: "bool",
    kind: "u8",
    body: "bytes",
  }),
  Mark: frame(0x06, { conversation: "u64", kind: "u8", seq: "u64" }),
  SetTyping: frame(0x07, { conversation: "u64", active: "bool" }),
  History: frame(0x08, {
    request: "u32",
    conversation: "u64",
    anchor: "u64",
    direction: "u8",
    limit: "u16",
  }),
  Conversations: frame(0x09, { request: "u32", limit: "u16", after: option(ListCursor) }),
  OpenDirect: frame(0x0a, { request: "u32", name: "string" }),
  Describe: frame(0x0b, { request: "u32", conversation: "u64" }),
  Watch: frame(0x0c, { request: "u32", users: list("u64") }),
  Unwatch: frame(0x0d, { users: list("u64") }),
  Authenticate: frame(0x0e, { request: "u32", token: "string" }),
  Leave: frame(0x0f, {}),
  FindUsers: frame(0x10, { request: "u32", names: list("string") }),
  DescribeGroup: frame(0x11, { request: "u32", conversation: "u64" }),
  Readers: frame(0x12, { request: "u32", conversation: "u64", seq: "u64" }),
  Refresh: frame(0x30, { request: "u32", refresh_token: "string" }),

  Welcome: frame(0x80, {
    version: "u16",
    session: "u64",
    secret: array(16),
    resumed: "bool",
    user: "u64",
    device: "u64",
    name: "string",
    heartbeat_ms: "u32",
    grace_ms: "u32",
    server_time_ms: "u64",
    token_expires_ms: "u64",
    limits: Limits,
    node: "string",
    endpoints: list("string"),
  }),
  Pong: frame(0x81, { nonce: "u32" }),
  Error: frame(0x82, {
    request: "u32",
    code: "u16",
    class: "u8",
    retryable: "bool",
    retry_after_ms: "u32",
    detail: "string",
  }),
  HistoryPage: frame(0x83, {
    request: "u32",
    conversation: "u64",
    entries: list(Entry),
    head: "u64",
    floor: "u64",
    more: "bool",
  }),
  ConversationPage: frame(0x84, {
    request: "u32",
    conversations: list(ConversationInfo),
    next: option(ListCursor),
  }),
  Conversation: frame(0x85, { request: "u32", created: "bool", info: ConversationInfo }),
  Presence: frame(0x86, { user: "u64", status: "u8", last_seen_ms: "u64" }),
  Typing: frame(0x87, { conversation: "u64", user: "u64", active: "bool" }),
  Behind: frame(0x88, {}),
  Drain: frame(0x89, { reconnect_after_ms: "u32", alternates: list("string") }),
  Bye: frame(0x8a, { code: "u16", reason: "string" }),
  Done: frame(0x8c, { request: "u32" }),
  Users: frame(0x8d, { request: "u32", users: list(FoundUser) }),
  Group: frame(0x8e, {
    request: "u32",
    conversation: "u64",
    avatar: "string",
    open_history: "bool",
    link: "string",
    created_ms: "u64",
  }),
  ReadBy: frame(0x8f, {
    request: "u32",
    conversation: "u64",
    seq: "u64",
    delivered: list("u64"),
    read: list("u64"),
  }),
  Refreshed: frame(0xa0, {
    request: "u32",
    access_token: "string",
    access_expires_ms: "u64",
    refresh_token: "string",
  }),
  Notice: frame(0xa1, { notice: "u64", time_ms: "u64", text: "string" }),


  Message: frame(0xc0, { conversation: "u64", entry: Entry }),
  Sent: frame(0xc1, {
    request: "u32",
    conversation: "u64",
    client_msg_id: array(16),
    seq: "u64",
    time_ms: "u64",
    duplicate: "bool",
  }),
  Receipt: frame(0xc2, { conversation: "u64", user: "u64", kind: "u8", seq: "u64" }),
  ConversationChanged: frame(0xc3, { conversation: "u64", change: "u8" }),
  CaughtUp: frame(0xc4, { request: "u32", cursor: Cursor }),
  TooFar: frame(0xc5, { request: "u32", cursor: Cursor }),
  ...OWN_FRAMES,
});

const BY_NUMBER = new Map(
  Object.entries(FRAMES).map(([name, { number, type }]) => [number, { name, type }]),
);

// ---- writing ------------------------------------------------------------------------------------

const encoder = new TextEncoder();
const WIDTH = { u16: 0xffffn, u32: 0xffffffffn, u64: 0xffffffffffffffffn };

class Writer {
  #bytes = new Uint8Array(64);
  #length = 0;

  /** Makes room for `more` bytes and returns where they begin. */
  #grow(more) {
    const at = this.#length;
    this.#length += more;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    return at;
  }

  byte(value) {
    const at = this.#grow(1);
    this.#bytes[at] = value;
  }

  raw(bytes) {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  varint(value) {
    if (value < 251n) return this.byte(Number(value));
    const [mark, width] = value <= WIDTH.u16 ? [251, 2] : value <= WIDTH.u32 ? [252, 4] : [253, 8];
    this.byte(mark);
    const at = this.#grow(width);
    for (let i = 0; i < width; i += 1) {
      this.#bytes[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
    }
  }

  done() {
    return this.#bytes.slice(0, this.#length);
  }
}

function integer(value, most, what) {
  const big = typeof value === "bigint" ? value : Number.isInteger(value) ? BigInt(value) : -1n;
  if (big < 0n || big > most) throw new CodecError(`${String(value)} is no ${what}`);
  return big;
}

function write(out, type, value) {
  switch (type) {
    case "u8":
      return out.byte(Number(integer(value, 0xffn, type)));
    case "u16":
    case "u32":
    case "u64":
      return out.varint(integer(value, WIDTH[type], type));
    case "bool":
      return out.byte(value ? 1 : 0);
    case "string":
      return write(out, "bytes", encoder.encode(value));
    case "bytes":
      out.varint(BigInt(value.length));
      return out.raw(value);
  }
  if (type.struct) {
    for (const [field, of] of type.struct) write(out, of, value[field]);
  } else if (type.list) {
    out.varint(BigInt(value.length));
    for (const item of value) write(out, type.list, item);
  } else if (type.option) {
    out.byte(value == null ? 0 : 1);
    if (value != null) write(out, type.option, value);
  } else {
    if (value.length !== type.array) throw new CodecError(`${type.array} bytes are needed`);
    out.raw(value);
  }
}

/**
 * One frame as bytes.
 * @param {string} name a key of FRAMES
 * @param {object} fields its fields
 * @returns {Uint8Array}
 * @throws {CodecError} for an unknown name or a value outside of its type
 */
export function encodeFrame(name, fields = {}) {
  const known = FRAMES[name];
  if (!known) throw new CodecError(`no frame ${name}`);
  const payload = new Writer();
  write(payload, known.type, fields);
  const bytes = payload.done();
  const out = new Writer();
  out.byte(known.number);
  out.varint(BigInt(bytes.length));
  out.raw(bytes);
  return out.done();
}

// ---- reading ------------------------------------------------------------------------------------

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const VARINT_BYTES = { 251: 2, 252: 4, 253: 8 };
const MOST_BYTES = { u16: 2, u32: 4, u64: 8 };

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  get left() {
    return this.bytes.length - this.at;
  }

  raw(length) {
    if (length > this.left) throw new CodecError("the bytes end too early");
    const from = this.at;
    this.at += length;
    return this.bytes.subarray(from, this.at);
  }

  byte() {
    return this.raw(1)[0];
  }

  /** A varint as BigInt, not wider than its type. */
  varint(type) {
    const first = this.byte();
    if (first < 251) return BigInt(first);
    const width = VARINT_BYTES[first];
    if (!width || width > MOST_BYTES[type]) throw new CodecError(`${first} begins no ${type}`);
    let value = 0n;
    const bytes = this.raw(width);
    for (let i = width - 1; i >= 0; i -= 1) value = (value << 8n) | BigInt(bytes[i]);
    return value;
  }

  /** A length: every element has a byte at least, so what is left bounds it. */
  length() {
    const value = this.varint("u64");
    if (value > BigInt(this.left)) throw new CodecError("a length is over the payload's");
    return Number(value);
  }

  /** A byte that is 0 or 1. */
  bit(what) {
    const byte = this.byte();
    if (byte > 1) throw new CodecError(`${byte} is no ${what}`);
    return byte === 1;
  }
}

function read(from, type) {
  switch (type) {
    case "u8":
      return from.byte();
    case "u16":
    case "u32":
      return Number(from.varint(type));
    case "u64":
      return from.varint(type);
    case "bool":
      return from.bit(type);
    case "string":
      try {
        return decoder.decode(from.raw(from.length()));
      } catch (error) {
        throw error instanceof CodecError ? error : new CodecError("a string is no UTF-8");
      }
    case "bytes":
      return from.raw(from.length()).slice();
  }
  if (type.struct) {
    const value = {};
    for (const [field, of] of type.struct) value[field] = read(from, of);
    return value;
  }
  if (type.list) {
    const value = [];
    for (let left = from.length(); left > 0; left -= 1) value.push(read(from, type.list));
    return value;
  }
  if (type.option) return from.bit("option") ? read(from, type.option) : null;
  return from.raw(type.array).slice();
}

/**
 * The frames of a WebSocket message, in order. A frame of an unknown number has a null name and
 * null fields: skip it, but count it when its number is FIRST_STREAM or more. `size` is the bytes
 * of the whole frame.
 * @param {ArrayBuffer | Uint8Array} message
 * @returns {{number: number, name: string | null, fields: object | null, size: number}[]}
 * @throws {CodecError} when the bytes are no frames, or a known frame's payload does not decode
 */
export function decodeMessage(message, frameLimit = MAX_SERVER_FRAME_BYTES) {
  const from = new Reader(message instanceof Uint8Array ? message : new Uint8Array(message));
  const frames = [];
  while (from.left > 0) {
    if (frames.length === MAX_FRAMES_PER_MESSAGE) throw new CodecError("too many frames");
    const start = from.at;
    const number = from.byte();
    const length = Number(from.varint("u32"));
    if (length > frameLimit) throw new CodecError(`a frame of ${length} bytes is too large`);
    const payload = new Reader(from.raw(length));
    const known = BY_NUMBER.get(number);
    frames.push({
      number,
      name: known?.name ?? null,
      fields: known ? read(payload, known.type) : null,
      size: from.at - start,
    });
  }
  return frames;
}

/** The fields of a struct alone as bytes. */
export function encodeFields(type, fields) {
  const out = new Writer();
  write(out, type, fields);
  return out.done();
}

/** What `encodeFields` made. */
export const decodeFields = (type, bytes) => read(new Reader(bytes), type);

// ---- ids ----------------------------------------------------------------------------------------

/** Hex digits of bytes. */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Bytes of hex digits. */
export function fromHex(digits) {
  if (!/^([0-9a-f]{2})*$/i.test(digits)) throw new CodecError("no hex digits");
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** An id as people write it: 16 hex digits. */
export function idText(id) {
  return id.toString(16).padStart(16, "0");
}

/**
 * A client_msg_id: UUIDv7 of Unix milliseconds and ten random bytes.
 * @param {number} unixMs
 * @param {Uint8Array} random ten bytes
 */
export function messageId(unixMs, random) {
  const id = new Uint8Array(16);
  let left = Math.floor(unixMs);
  for (let i = 5; i >= 0; i -= 1) {
    id[i] = left % 256;
    left = Math.floor(left / 256);
  }
  id.set(random.subarray(0, 10), 6);
  id[6] = 0x70 | (id[6] & 0x0f);
  id[8] = 0x80 | (id[8] & 0x3f);
  return id;
}
