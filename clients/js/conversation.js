// What a device knows of one conversation: marks, who types, and a run of entries without gap.
//
// Pure: it takes what came and says what is new. Fetching what is missing is client.js's work.

import { EntryKind, MarkKind } from "./codec.js";

const decoder = new TextDecoder();
const encoder = new TextEncoder();

export const max = (a, b) => (a > b ? a : b);

/** A text as the body of an entry. */
export const bodyOf = (text) => encoder.encode(text);

/** The text of an entry or a pending send; null when it is none. */
export function textOf({ kind, body }) {
  return kind === EntryKind.Text ? decoder.decode(body) : null;
}

export class Conversation {
  /** Entries above a gap, until it is filled. */
  #waiting = new Map();

  constructor(id) {
    this.id = id;
    /** False until the service described it. */
    this.ready = false;
    this.kind = 0;
    this.title = "";
    /** Members by user id: {user, name, role, delivered, read}. */
    this.members = new Map();
    /** Everything up to here is known. */
    this.head = 0n;
    /** The smallest seq the service still holds. */
    this.floor = 1n;
    this.activeMs = 0n;
    this.last = null;
    /** A run of entries without gap that ends at `head`; empty until history is loaded. */
    this.entries = [];
    /** The user is no member any more. */
    this.left = false;
    /** The last entry that ended a membership of the user. */
    this.leftAt = -1n;
    /** Users who type now. */
    this.typing = new Set();
    /** This user's marks as wished for, and as told to the service on this connection. */
    this.wanted = { delivered: 0n, read: 0n };
    this.told = { delivered: 0n, read: 0n };
    /** Work under way, so that it is not begun twice. */
    this.busy = { describing: false, outdated: false, filling: false, older: null };
  }

  /** Whether older entries than the loaded ones may exist. */
  get hasOlder() {
    return this.entries.length > 0 ? this.entries[0].seq > this.floor : this.head >= this.floor;
  }

  /** The seq before which older entries are missing. */
  get first() {
    return this.entries[0]?.seq ?? this.head + 1n;
  }

  /** The greatest seq that waits above a gap; `head` when none does. */
  get seen() {
    let seen = this.head;
    for (const seq of this.#waiting.keys()) seen = max(seen, seq);
    return seen;
  }

  /** How many entries `user` has not read. */
  unread(user) {
    const read = max(this.members.get(user)?.read ?? 0n, this.wanted.read);
    return this.head > read ? Number(this.head - read) : 0;
  }

  /** No member any more since this entry. */
  end(seq) {
    this.left = true;
    this.leftAt = max(this.leftAt, seq);
  }

  /**
   * The service's description. Marks never move back. One that was read before the user ceased to be a
   * member says nothing: it was overtaken by the entry that ended it.
   */
  describe(info) {
    if (info.head <= this.leftAt) return;
    this.kind = info.kind;
    this.title = info.title;
    this.floor = max(this.floor, info.floor);
    this.activeMs = max(this.activeMs, info.active_ms);
    this.left = false;
    const told = new Set(info.members.map((member) => member.user));
    for (const user of this.members.keys()) if (!told.has(user)) this.members.delete(user);
    for (const member of info.members) {
      const known = this.members.get(member.user);
      this.members.set(member.user, {
        ...member,
        delivered: max(member.delivered, known?.delivered ?? 0n),
        read: max(member.read, known?.read ?? 0n),
      });
    }
  }

  /** Begins the run at the newest entry; what lies below is loaded when it is looked at. */
  startAt({ head, last }) {
    this.ready = true;
    this.head = head;
    this.last = last;
    this.entries = last && last.seq === head ? [last] : [];
  }

  /** Keeps an entry until its turn. An entry that is held already is dropped. */
  keep(entry) {
    if (!this.ready || entry.seq > this.head) this.#waiting.set(entry.seq, entry);
  }

  /** Moves what now follows `head` into the run, and returns it. */
  take() {
    for (const seq of this.#waiting.keys()) if (seq <= this.head) this.#waiting.delete(seq);
    const taken = [];
    let next;
    while ((next = this.#waiting.get(this.head + 1n))) {
      this.#waiting.delete(next.seq);
      this.head = next.seq;
      taken.push(next);
    }
    this.entries.push(...taken);
    for (const entry of taken) {
      this.last = entry;
      this.activeMs = max(this.activeMs, entry.time_ms);
      // Sending implies having read.
      this.mark(entry.sender, MarkKind.Read, entry.seq);
    }
    return taken;
  }

  /** Puts older entries in front of the run; those that don't touch it are not taken. */
  prepend(page) {
    const older = page.filter((entry) => entry.seq < this.first);
    if (older.length === 0 || older.at(-1).seq + 1n !== this.first) return [];
    this.entries.unshift(...older);
    return older;
  }

  /**
   * Moves a member's mark forward, of user 0 everybody's; reading implies delivery. False when the
   * member is not known.
   */
  mark(user, kind, seq) {
    if (user === 0n) {
      for (const member of this.members.keys()) this.mark(member, kind, seq);
      return true;
    }
    const member = this.members.get(user);
    if (!member) return false;
    if (kind === MarkKind.Read) member.read = max(member.read, seq);
    if (kind === MarkKind.Read || kind === MarkKind.Delivered) {
      member.delivered = max(member.delivered, seq);
    }
    return true;
  }

  /** How far an own entry got: "sent", "delivered" or "read" by all other members. */
  fate(seq, me) {
    const others = [...this.members.values()].filter((member) => member.user !== me);
    if (others.length === 0) return "sent";
    if (others.every((member) => member.read >= seq)) return "read";
    return others.every((member) => member.delivered >= seq) ? "delivered" : "sent";
  }
}
