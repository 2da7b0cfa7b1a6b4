// What the user keeps to itself: contacts and blocks, muted and archived conversations, privacy.
//
// Kept in step with the user's other devices: a change made anywhere is told by the event "own" of
// the client, and what it names is asked for again. The state is there to be read.

import { Audience, OwnKind } from "./codec.js";

const PAGE = 100;
/** Muted for good. */
export const FOR_GOOD = 0xffff_ffff_ffff_ffffn;

const PLAIN = Object.freeze({ muted_until_ms: 0n, archived: false, unread: false });
const UNKNOWN = Object.freeze({ contact: false, blocked: false });

export class People {
  #client;
  #changed;

  /** Contacts and blocked users by id: {user, name, contact, blocked}. */
  people = new Map();
  /** How conversations are seen, by id: {muted_until_ms, archived, unread}. */
  states = new Map();
  /** Who may see what: {presence, last_seen, receipts}. */
  privacy = {
    presence: Audience.Everyone,
    last_seen: Audience.Everyone,
    receipts: Audience.Everyone,
  };

  /**
   * @param {Client} client
   * @param {() => void} changed called after each change
   */
  constructor(client, changed = () => {}) {
    this.#client = client;
    this.#changed = changed;
    client.on("loaded", () => void this.#quietly(this.load()));
    client.on("own", (what) => void this.#quietly(this.#own(what)));
  }

  // A failed look is made up for by the next session's.
  async #quietly(work) {
    try {
      await work;
    } catch (error) {
      console.warn("people", error);
    }
  }

  /** Fetches everything. */
  async load() {
    await Promise.all([
      this.loadPeople(),
      this.loadStates([...this.#client.conversations.keys()]),
      this.loadPrivacy(),
    ]);
  }

  async loadPeople() {
    const found = new Map();
    let after = null;
    do {
      const page = await this.#client.request("People", { limit: PAGE, after });
      for (const person of page.people) found.set(person.user, person);
      after = page.next;
    } while (after !== null);
    this.people = found;
    this.#changed();
  }

  /** Fetches how these conversations are seen. */
  async loadStates(ids) {
    for (let at = 0; at < ids.length; at += PAGE) {
      const conversations = ids.slice(at, at + PAGE);
      const { states } = await this.#client.request("OwnStates", { conversations });
      for (const { conversation, ...state } of states) this.states.set(conversation, state);
    }
    this.#changed();
  }

  async loadPrivacy() {
    const { presence, last_seen, receipts } = await this.#client.request("GetPrivacy", {});
    this.privacy = { presence, last_seen, receipts };
    this.#changed();
  }

  async #own({ kind, id }) {
    if (kind === OwnKind.Person) return this.loadPeople();
    if (kind === OwnKind.Conversation) return this.loadStates([id]);
    if (kind === OwnKind.Privacy) return this.loadPrivacy();
  }

  /** What the user has to do with another one. */
  of(user) {
    return this.people.get(user) ?? UNKNOWN;
  }

  /** How a conversation is seen. */
  stateOf(conversation) {
    return this.states.get(conversation) ?? PLAIN;
  }

  /** Whether a conversation is muted at this time, Unix milliseconds. */
  isMuted(conversation, now) {
    return this.stateOf(conversation).muted_until_ms > BigInt(Math.floor(now));
  }

  async setContact(user, contact) {
    await this.#client.request("SetContact", { user, contact });
    await this.loadPeople();
  }

  /** From when this returns on, or not any more. */
  async setBlocked(user, blocked) {
    await this.#client.request("SetBlocked", { user, blocked });
    await this.loadPeople();
  }

  /** Reports an entry to the operators. */
  async report(conversation, seq, reason, comment = "") {
    await this.#client.request("Report", { conversation, seq, reason, comment });
  }

  /** Changes how a conversation is seen; what is absent stays. */
  async setState(conversation, { muted_until_ms = null, archived = null, unread = null }) {
    const wish = { conversation, muted_until_ms, archived, unread };
    await this.#client.request("SetOwnState", wish);
    await this.loadStates([conversation]);
  }

  /** Replaces some of the privacy settings. */
  async setPrivacy(change) {
    await this.#client.request("SetPrivacy", { ...this.privacy, ...change });
    await this.loadPrivacy();
  }

  /** The user's devices: {device, name, created_ms, seen_ms}. */
  async devices() {
    const found = [];
    let after = null;
    do {
      const page = await this.#client.request("Devices", { limit: PAGE, after });
      found.push(...page.devices);
      after = page.next;
    } while (after !== null);
    return found;
  }

  async nameDevice(device, name) {
    await this.#client.request("NameDevice", { device, name });
  }

  /** Ends a device. Its own: the connection closes and does not come back. */
  async revokeDevice(device) {
    await this.#client.request("RevokeDevice", { device });
  }
}
