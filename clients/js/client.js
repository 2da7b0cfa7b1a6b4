// The Rookery client: conversations, history, messages that arrive once, marks, typing, presence.
//
// Ties the parts together: connection.js (the session), requests.js, sends.js, conversation.js. An
// entry is applied once, by seq; a gap is filled from history; a send is repeated with the same id
// until it is answered. What changes is told by events; the state is there to be read.

import { EntryKind, Direction } from "./codec.js";
import { Connection, systemTimers } from "./connection.js";
import { bodyOf, Conversation, max } from "./conversation.js";
import { asLogged, encodeChange, ends } from "./groups.js";
import { Marks } from "./marks.js";
import { RequestError, Requests } from "./requests.js";
import { memoryStore, Sends } from "./sends.js";
import { Typing } from "./typing.js";

export { backoffMs, CloseCode, Connection, shouldReconnect, systemTimers } from "./connection.js";
export { textOf } from "./conversation.js";
export { HttpError, logIn, signUp, Tokens } from "./http.js";
export { memoryStore, RequestError };

const WATCH_BATCH = 200;
/** A gap above this many entries is not filled: the run begins again at the newest. */
const LONGEST_GAP = 1000n;
const PAGE = 100;
const NOT_A_MEMBER = 203;

export class Client {
  #connection;
  #timers;
  #listeners = new Map();
  #requests;
  #sends;
  #cursor = null;
  #clockOffset = 0;
  #watchLimit = 1000;
  #watched = new Set();
  #marks;
  #typing;
  #away = false;

  /** {user, device, name} once welcomed. */
  me = null;
  /** Conversations by id. */
  conversations = new Map();
  /** Presence by user id: {status, last_seen_ms}. */
  presence = new Map();

  /**
   * @param {object} options
   * @param {string[]} options.urls WebSocket addresses, best first
   * @param {(wish: object) => Promise<{token: string, leftMs: number}>} options.token Tokens.access
   * @param {{load: () => object[], save: (sends: object[]) => void}} [options.store] pending sends
   */
  constructor(options) {
    const random = options.random ?? Math.random;
    const random10 = (length) => crypto.getRandomValues(new Uint8Array(length));
    this.#timers = options.timers ?? systemTimers;
    const send = (name, fields) => this.#connection.send(name, fields);
    this.#requests = new Requests(send, this.#timers, random);
    this.#typing = new Typing(
      this.#timers,
      (fields) => send("SetTyping", fields),
      (conversation) => this.#emit("typing", { conversation }),
    );
    this.#marks = new Marks(this.#timers, send, () => this.me?.user);
    this.#sends = new Sends({
      timers: this.#timers,
      random,
      randomBytes: options.randomBytes ?? random10,
      store: options.store ?? memoryStore(),
      now: () => this.now(),
      number: () => this.#requests.number(),
      send: (fields) => send("Send", fields),
      changed: (id) => this.#emit("pending", { conversation: this.#conversation(id) }),
    });
    this.#connection = new Connection({
      ...options,
      on: {
        welcome: (fields) => this.#welcomed(fields),
        frame: (name, fields) => this.#received(name, fields),
        state: (state, detail) => this.#stateChanged(state, detail),
      },
    });
  }

  /**
   * Listens. Events: state {state, ...}; conversation {conversation}; entries {conversation,
   * entries, at: "end" | "start" | "reset"}; pending {conversation}; typing {conversation};
   * presence {user}; own {kind, id}; loaded {}; notice {notice, text}; fault (for the log).
   * @returns {() => void} stops listening
   */
  on(event, listener) {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event).add(listener);
    return () => this.#listeners.get(event).delete(listener);
  }

  #emit(event, detail) {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        listener(detail);
      } catch (error) {
        // A listener's fault is its own: it surfaces, and the client goes on.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  // ---- connection -------------------------------------------------------------------------------

  get state() {
    return this.#connection?.state ?? "offline";
  }

  connect() {
    this.#connection.start();
  }

  /** Ends the session; the user shows as offline at once. */
  close() {
    this.#connection.stop();
  }

  /** The network is said to be back. */
  hurry() {
    this.#connection.hurry();
  }

  /** The service's clock, as far as it is known. */
  now() {
    return this.#timers.now() + this.#clockOffset;
  }

  #stateChanged(state, detail) {
    if (state !== "online") {
      this.#requests.pause();
      this.#sends.pause();
      for (const conversation of this.conversations.values()) this.#typing.stop(conversation);
    }
    this.#emit("state", { state, ...detail });
  }

  #welcomed(fields) {
    this.me = { user: fields.user, device: fields.device, name: fields.name };
    this.#requests.limit = fields.limits.requests_in_flight;
    this.#sends.limit = fields.limits.sends_in_flight;
    this.#watchLimit = fields.limits.watched_users;
    this.#clockOffset = Number(fields.server_time_ms) - this.#timers.now();
    this.#sends.pause();
    this.#requests.restart(fields.resumed);
    if (!fields.resumed) void this.#newSession();
    for (const conversation of this.conversations.values()) {
      conversation.told = { delivered: 0n, read: 0n };
      this.#marks.want(conversation);
    }
    this.#requests.pump();
    // Sends follow what arrives in the same turn: a replayed answer saves a retry.
    this.#timers.set(() => this.#sends.pump(), 0);
  }

  async #newSession() {
    if (this.#away) this.setAway(true);
    const users = [...this.#watched];
    for (let at = 0; at < users.length; at += WATCH_BATCH) {
      this.#watchNow(users.slice(at, at + WATCH_BATCH));
    }
    try {
      await this.request("Sync", { cursor: this.#cursor });
    } catch (error) {
      return this.#emit("fault", error);
    }
    // Marks that moved meanwhile do not come after a Sync; after TooFar, entries don't either.
    await this.#refreshed();
  }

  async #refreshed() {
    try {
      await this.refresh();
    } catch (error) {
      this.#emit("fault", error);
    }
  }

  /**
   * A request; it survives reconnects, so it may be carried out more than once.
   * @returns {Promise<object>} the answering frame's fields
   * @throws {RequestError}
   */
  request(name, fields) {
    return this.#requests.ask(name, fields);
  }

  // ---- what comes in ----------------------------------------------------------------------------

  #received(name, fields) {
    switch (name) {
      case "Message":
        this.#acknowledgedBy(fields.entry);
        return this.#apply(this.#conversation(fields.conversation), fields.entry);
      case "Sent":
        return this.#sent(fields);
      case "Receipt":
        return this.#receipt(fields);
      case "ConversationChanged":
        return void this.#describe(this.#conversation(fields.conversation));
      case "CaughtUp":
      case "TooFar":
        this.#cursor = fields.cursor;
        // A `Sync` that was answered fetches the list itself.
        if (name === "TooFar" && fields.request === 0) void this.#refreshed();
        return void this.#requests.answered(fields.request, fields);
      case "Presence":
        this.presence.set(fields.user, fields);
        return this.#emit("presence", { user: fields.user });
      case "Notice": return this.#emit("notice", fields);
      case "Typing":
        return this.#typed(fields);
      case "Error":
        if (this.#sends.refused(fields.request, fields) || this.#requests.refused(fields.request, fields)) return;
        return this.#emit("fault", new RequestError(fields));
      case "OwnChanged": return this.#emit("own", fields);
      default: return void this.#requests.answered(fields.request, fields);
    }
  }

  // ---- conversations ----------------------------------------------------------------------------

  #conversation(id) {
    let conversation = this.conversations.get(id);
    if (!conversation) {
      conversation = new Conversation(id);
      this.conversations.set(id, conversation);
    }
    return conversation;
  }

  /** Fetches the list of conversations, all pages. */
  async refresh() {
    let after = null;
    do {
      const page = await this.request("Conversations", { limit: PAGE, after });
      for (const info of page.conversations) this.#described(info);
      after = page.next;
    } while (after);
    this.#emit("loaded", {});
  }

  /** Finds or creates the one-to-one conversation with a user. */
  async openDirect(name) {
    const { info } = await this.request("OpenDirect", { name });
    return this.#described(info);
  }

  async #describe(conversation) {
    const { busy } = conversation;
    // An answer on its way may have been read before what asks for this one.
    if (busy.describing) return void (busy.outdated = true);
    busy.describing = true;
    try {
      const { info } = await this.request("Describe", { conversation: conversation.id });
      this.#described(info);
    } catch (error) {
      if (error.code === NOT_A_MEMBER) this.#ended(conversation, conversation.head);
      else this.#emit("fault", error);
    } finally {
      busy.describing = false;
    }
    const again = busy.outdated && !conversation.left;
    busy.outdated = false;
    if (again) await this.#describe(conversation);
  }

  #described(info) {
    const conversation = this.#conversation(info.conversation);
    conversation.describe(info);
    if (!conversation.ready) conversation.startAt(info);
    this.#advance(conversation);
    if (info.head > conversation.head) void this.#fill(conversation, info.head);
    this.#emit("conversation", { conversation });
    this.#wantDelivered(conversation);
    return conversation;
  }

  // ---- entries ----------------------------------------------------------------------------------

  /** One entry, from whichever side: applied once, in order, or kept until its gap is filled. */
  #apply(conversation, entry) {
    conversation.keep(entry);
    if (!conversation.ready) return void this.#describe(conversation);
    this.#advance(conversation);
    if (conversation.seen > conversation.head) void this.#fill(conversation, conversation.seen);
  }

  #advance(conversation) {
    const entries = conversation.take();
    if (entries.length === 0) return;
    this.#emit("entries", { conversation, entries, at: "end" });
    for (const entry of entries) this.#typing.stop(conversation, entry.sender);
    this.#wantDelivered(conversation);
    const last = entries.findLast((entry) => ends(entry, this.me?.user));
    if (last) this.#ended(conversation, last.seq);
    const tells = ({ kind, seq }) => kind === EntryKind.Group && seq > conversation.leftAt;
    if (entries.some(tells)) void this.#describe(conversation);
  }

  /** No member any more: what is here stays. */
  #ended(conversation, seq) {
    conversation.end(seq);
    this.#emit("conversation", { conversation });
  }

  /** Fetches what is missing between `head` and `upTo`. */
  async #fill(conversation, upTo) {
    if (conversation.busy.filling) return;
    conversation.busy.filling = true;
    try {
      while (conversation.head < upTo) {
        if (upTo - conversation.head > LONGEST_GAP) return await this.#restart(conversation);
        const { entries } = await this.#history(conversation, conversation.head, Direction.After);
        if (entries.length === 0) return;
        // Trimmed: what is missing can't be had any more.
        if (entries[0].seq > conversation.head + 1n) return await this.#restart(conversation);
        for (const entry of entries) {
          this.#acknowledgedBy(entry);
          conversation.keep(entry);
        }
        this.#advance(conversation);
        upTo = max(upTo, conversation.seen);
      }
    } catch (error) {
      this.#emit("fault", error);
    } finally {
      conversation.busy.filling = false;
    }
  }

  /** The gap is trimmed away or too large: forget the run and begin at the newest. */
  async #restart(conversation) {
    const { info } = await this.request("Describe", { conversation: conversation.id });
    conversation.startAt(info);
    this.#emit("entries", { conversation, entries: conversation.entries, at: "reset" });
    this.#described(info);
  }

  async #history(conversation, anchor, direction) {
    const wish = { conversation: conversation.id, anchor, direction, limit: PAGE };
    const page = await this.request("History", wish);
    conversation.floor = max(conversation.floor, page.floor);
    return page;
  }

  /**
   * Loads a page of older entries in front of the run.
   * @returns {Promise<boolean>} whether there may be more
   */
  async loadOlder(conversation) {
    if (!conversation.hasOlder) return false;
    conversation.busy.older ??= this.#loadOlder(conversation).finally(() => {
      conversation.busy.older = null;
    });
    return conversation.busy.older;
  }

  async #loadOlder(conversation) {
    const page = await this.#history(conversation, conversation.first, Direction.Before);
    const entries = conversation.prepend(page.entries);
    for (const entry of entries) this.#acknowledgedBy(entry);
    // Nothing below is left, whatever the floor said.
    if (page.entries.length === 0) conversation.floor = conversation.first;
    if (entries.length > 0) this.#emit("entries", { conversation, entries, at: "start" });
    return conversation.hasOlder;
  }

  // ---- sends ------------------------------------------------------------------------------------

  /** A conversation's messages without answer, oldest first. */
  pending(conversation) {
    return this.#sends.of(conversation.id).filter(({ kind }) => kind !== EntryKind.Group);
  }

  /**
   * Changes a group (see `encodeChange`), or makes one when none is named.
   * @returns {Promise<bigint>} its id, once the change is durable
   * @throws {object} the fields of the refusal
   */
  change(change, conversation = null) {
    return this.#sends.change(conversation?.id ?? null, encodeChange(change));
  }

  /** Sends a text; it is pending until it is answered. */
  sendText(conversation, text) {
    this.#typing.sent(conversation);
    return this.#sends.add(conversation.id, EntryKind.Text, bodyOf(text));
  }

  /** Sends a failed message again, as a new one: the refused id is spent. */
  retry(send) {
    this.#sends.discard(send);
    return this.#sends.add(send.conversation, send.kind, send.body);
  }

  /** Forgets a pending or failed message. */
  discard(send) {
    this.#sends.discard(send);
  }

  /** An own entry is the answer to its send, when `Sent` was lost. */
  #acknowledgedBy(entry) {
    if (entry.sender === this.me?.user) this.#sends.committed(entry.client_msg_id);
  }

  #sent({ conversation: id, client_msg_id, seq, time_ms }) {
    const conversation = this.#conversation(id);
    const send = this.#sends.committed(client_msg_id);
    if (send) {
      const { kind } = send;
      const body = kind === EntryKind.Group ? asLogged(send.body) : send.body;
      const { user: sender, device } = this.me;
      this.#apply(conversation, { seq, sender, device, time_ms, client_msg_id, kind, body });
    } else if (!conversation.ready) {
      void this.#describe(conversation);
    } else if (seq > conversation.head) {
      // The content is not here any more: fetch it like a gap.
      void this.#fill(conversation, seq);
    }
  }

  // ---- marks ------------------------------------------------------------------------------------

  /** The user has seen everything up to `seq`. */
  markRead(conversation, seq = conversation.head) {
    const { wanted } = conversation;
    if (seq <= wanted.read) return;
    wanted.read = seq;
    wanted.delivered = max(wanted.delivered, seq);
    this.#emit("conversation", { conversation });
    this.#marks.want(conversation);
  }

  #wantDelivered(conversation) {
    conversation.wanted.delivered = max(conversation.wanted.delivered, conversation.head);
    this.#marks.want(conversation);
  }

  #receipt({ conversation: id, user, kind, seq }) {
    const conversation = this.#conversation(id);
    if (conversation.mark(user, kind, seq)) this.#emit("conversation", { conversation });
    else void this.#describe(conversation);
  }

  // ---- typing and presence ----------------------------------------------------------------------

  /** The user types, or stopped. Call it at every key: it is sent at most every 3 s. */
  setTyping(conversation, active) {
    this.#typing.set(conversation, active);
  }

  #typed({ conversation: id, user, active }) {
    const conversation = this.conversations.get(id);
    if (conversation && user !== this.me?.user) this.#typing.heard(conversation, user, active);
  }

  /** The user is away from this device, or back; a new session is told again. */
  setAway(away) {
    this.#connection.send("SetAway", { away: (this.#away = away) });
  }

  /** Watches the presence of users, as many as the service allows. */
  watch(users) {
    const room = Math.max(0, this.#watchLimit - this.#watched.size);
    const added = users.filter((user) => !this.#watched.has(user)).slice(0, room);
    for (const user of added) this.#watched.add(user);
    if (added.length > 0 && this.state === "online") this.#watchNow(added);
  }

  #watchNow(users) {
    this.request("Watch", { users }).catch((error) => {
      for (const user of users) this.#watched.delete(user);
      this.#emit("fault", error);
    });
  }
}
