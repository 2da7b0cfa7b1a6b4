// Groups: a change is a message of its own, and an entry of the log for everybody.
//
// Pure: what a change says and does to who is told of it. Sending it is client.js's work.

import {
  CodecError,
  decodeFields,
  encodeFields,
  EntryKind,
  GroupAction,
  GroupChange,
} from "./codec.js";

/**
 * A change of a group as the body of a `Send`.
 * @param {{action: number, users?: bigint[], value?: number, text?: string}} change
 * @returns {Uint8Array}
 */
export function encodeChange({ action, users = [], value = 0, text = "" }) {
  return encodeFields(GroupChange, { action, users, value, text });
}

/**
 * The change that the body of an entry of the kind `Group` tells; null when it is none, as after
 * the deletion of its sender's account.
 * @param {Uint8Array} body
 */
export function decodeChange(body) {
  try {
    return decodeFields(GroupChange, body);
  } catch (error) {
    if (error instanceof CodecError) return null;
    throw error;
  }
}

/** The id of the group that a message with this id makes: its last 8 bytes. */
export function groupId(clientMsgId) {
  return clientMsgId.subarray(8).reduce((id, byte) => (id << 8n) | BigInt(byte), 0n);
}

/** A change as the log keeps it: without a link's secret. */
export function asLogged(body) {
  const change = decodeChange(body);
  const secret = change?.action === GroupAction.Join || change?.action === GroupAction.ResetLink;
  return secret ? encodeChange({ ...change, text: "" }) : body;
}

/** The change that an entry tells; null when it is none. */
export const changeOf = ({ kind, body }) => (kind === EntryKind.Group ? decodeChange(body) : null);

/** Whether an entry ends a user's membership. */
export function ends(entry, user) {
  const change = changeOf(entry);
  if (change?.action === GroupAction.Leave) return entry.sender === user;
  return change?.action === GroupAction.Remove && change.users.includes(user);
}

/** A secret for a link: 32 digits of hex. */
export function newSecret(bytes = crypto.getRandomValues(new Uint8Array(16))) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
