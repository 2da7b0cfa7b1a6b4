// The frames about what is the user's own: people, one's view of conversations, privacy, devices.

import { frame, list, option, struct } from "./shapes.js";

export const Audience = Object.freeze({ Everyone: 1, Contacts: 2, Nobody: 3 });
export const ReportReason = Object.freeze({ Spam: 1, Abuse: 2, Illegal: 3, Unlisted: 4 });
export const OwnKind = Object.freeze({ Person: 1, Conversation: 2, Privacy: 3 });

const Person = struct({ user: "u64", name: "string", contact: "bool", blocked: "bool" });
const OwnState = struct({
  conversation: "u64",
  muted_until_ms: "u64",
  archived: "bool",
  unread: "bool",
});
const DeviceInfo = struct({
  device: "u64",
  name: "string",
  created_ms: "u64",
  seen_ms: "u64",
});

/** By name: its number and its fields in wire order. */
export const OWN_FRAMES = Object.freeze({
  People: frame(0x20, { request: "u32", limit: "u16", after: option("u64") }),
  SetContact: frame(0x21, { request: "u32", user: "u64", contact: "bool" }),
  SetBlocked: frame(0x22, { request: "u32", user: "u64", blocked: "bool" }),
  Report: frame(0x23, {
    request: "u32",
    conversation: "u64",
    seq: "u64",
    reason: "u8",
    comment: "string",
  }),
  SetOwnState: frame(0x24, {
    request: "u32",
    conversation: "u64",
    muted_until_ms: option("u64"),
    archived: option("bool"),
    unread: option("bool"),
  }),
  OwnStates: frame(0x25, { request: "u32", conversations: list("u64") }),
  GetPrivacy: frame(0x26, { request: "u32" }),
  SetPrivacy: frame(0x27, { request: "u32", presence: "u8", last_seen: "u8", receipts: "u8" }),
  SetAway: frame(0x28, { away: "bool" }),
  Devices: frame(0x29, { request: "u32", limit: "u16", after: option("u64") }),
  NameDevice: frame(0x2a, { request: "u32", device: "u64", name: "string" }),
  RevokeDevice: frame(0x2b, { request: "u32", device: "u64" }),

  PeoplePage: frame(0x98, { request: "u32", people: list(Person), next: option("u64") }),
  OwnStatePage: frame(0x99, { request: "u32", states: list(OwnState) }),
  Privacy: frame(0x9a, { request: "u32", presence: "u8", last_seen: "u8", receipts: "u8" }),
  DevicePage: frame(0x9b, { request: "u32", devices: list(DeviceInfo), next: option("u64") }),

  OwnChanged: frame(0xd0, { kind: "u8", id: "u64" }),
});
