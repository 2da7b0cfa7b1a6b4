// How times and names are written, in the reader's language and time zone.

import { ConversationKind, idText, Status } from "/client/codec.js";

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const shortDate = new Intl.DateTimeFormat(undefined, { day: "2-digit", month: "2-digit", year: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

const DAY_MS = 24 * 3600 * 1000;

/** Days since the epoch, in local time. */
export function dayOf(ms) {
  const at = new Date(Number(ms));
  return Math.round(Date.UTC(at.getFullYear(), at.getMonth(), at.getDate()) / DAY_MS);
}

export const clockText = (ms) => time.format(Number(ms));
export const exactText = (ms) => exact.format(Number(ms));

/** "Today", "Yesterday", a weekday within a week, else a date. */
export function dayText(ms, now) {
  const ago = dayOf(now) - dayOf(ms);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  return ago > 1 && ago < 7 ? weekday.format(Number(ms)) : date.format(Number(ms));
}

/** For the list: the time today, else the day, short. */
export function shortText(ms, now) {
  const ago = dayOf(now) - dayOf(ms);
  if (ago === 0) return clockText(ms);
  if (ago === 1) return "Yesterday";
  return ago > 1 && ago < 7 ? weekday.format(Number(ms)) : shortDate.format(Number(ms));
}

/** The other member of a one-to-one conversation; null for a group. */
export function peerOf(conversation, me) {
  if (conversation.kind !== ConversationKind.Direct) return null;
  return [...conversation.members.values()].find((member) => member.user !== me?.user) ?? null;
}

/** What a conversation is called. */
export function nameOf(conversation, me) {
  const peer = peerOf(conversation, me);
  return peer?.name || conversation.title || `Chat ${idText(conversation.id).slice(0, 6)}`;
}

/** The line under the name: presence, or how many members. Empty when nothing is known. */
export function statusText(conversation, client) {
  if (client.state !== "online") return "";
  const peer = peerOf(conversation, client.me);
  if (conversation.left) return "You are no member any more";
  if (!peer) return `${conversation.members.size} members`;
  const presence = client.presence.get(peer.user);
  if (!presence) return "";
  if (presence.status === Status.Online) return "online";
  if (presence.status === Status.Away) return "away";
  if (presence.last_seen_ms === 0n) return "offline";
  const day = dayText(presence.last_seen_ms, client.now());
  const when = day === "Today" ? "" : day === "Yesterday" ? "yesterday " : `${day} `;
  return `last seen ${when}at ${clockText(presence.last_seen_ms)}`;
}
