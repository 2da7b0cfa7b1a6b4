// Messages on their way: kept until answered, over reconnects and, with a store, over restarts.
//
// A message has one id for all of its attempts; every attempt but the first says `retry`. In each
// conversation one send is under way at a time, so a refused one can't be overtaken by the next.

import { EntryKind, fromHex, messageId, toHex } from "./codec.js";
import { groupId } from "./groups.js";
import { retryMs } from "./requests.js";

const ANSWER_TIMEOUT_MS = 10_000;
/** The service remembers ids this long; an older send is not repeated without the user. */
const DEDUPE_HORIZON_MS = 7 * 24 * 3600 * 1000;

/** A store that forgets. */
export const memoryStore = () => ({ load: () => [], save: () => {} });

export class Sends {
  #options;
  #byId = new Map();
  #inFlight = 0;

  /** Most sends without answer, as the service says. */
  limit = 64;

  /**
   * @param {object} options
   * @param {(fields: object) => boolean} options.send false when nothing can be sent now
   * @param {() => number} options.number a fresh request number
   * @param {() => number} options.now the service's clock
   * @param {(conversation: bigint) => void} options.changed a conversation's sends changed
   * @param {{load: () => object[], save: (sends: object[]) => void}} options.store
   */
  constructor(options) {
    this.#options = options;
    for (const kept of options.store.load()) {
      const send = this.#new({
        id: fromHex(kept.id),
        conversation: BigInt(kept.conversation),
        kind: kept.kind,
        body: fromHex(kept.body),
        createdMs: kept.createdMs,
      });
      send.attempts = kept.attempts;
      send.failed = kept.failed;
      if (options.now() - send.createdMs > DEDUPE_HORIZON_MS) send.failed ??= "too old";
    }
  }

  /** A conversation's sends without answer, oldest first. */
  of(conversation) {
    return [...this.#byId.values()].filter((send) => send.conversation === conversation);
  }

  /** A new message; without a conversation it makes a group. */
  add(conversation, kind, body) {
    const createdMs = this.#options.now();
    const id = messageId(createdMs, this.#options.randomBytes(10));
    const send = this.#new({ id, conversation: conversation ?? groupId(id), kind, body, createdMs });
    this.#changed(send.conversation);
    this.pump();
    return send;
  }

  /**
   * A new change of a group; without a conversation it makes one.
   * @returns {Promise<bigint>} the group, once the change is durable
   * @throws {object} the fields of the refusal
   */
  change(conversation, body) {
    const send = this.add(conversation, EntryKind.Group, body);
    return new Promise((resolve, reject) => Object.assign(send, { resolve, reject }));
  }

  /** Forgets a message. */
  discard(send) {
    this.#remove(send);
    this.pump();
  }

  /**
   * The message of this id is committed.
   * @returns {object | null} the send, when it was waited for
   */
  committed(id) {
    const send = this.#byId.get(toHex(id)) ?? null;
    if (send) this.discard(send);
    send?.resolve?.(send.conversation);
    return send;
  }

  /** @returns {boolean} whether the refused request was a send */
  refused(request, error) {
    const send = [...this.#byId.values()].find((one) => one.request === request);
    if (request === 0 || !send) return false;
    this.#forgetAttempt(send);
    if (error.retryable) {
      const wait = retryMs(send.attempts, error, this.#options.random);
      send.timer = this.#options.timers.set(() => {
        send.timer = null;
        this.pump();
      }, wait);
    } else if (send.kind === EntryKind.Group) {
      // Whoever wanted it is told, and may want something else by now.
      this.#remove(send);
      send.reject?.(error);
    } else {
      send.failed = error.detail || `error ${error.code}`;
      this.#changed(send.conversation);
    }
    this.pump();
    return true;
  }

  /** The connection, or the session, is lost: the outcome of every attempt is unknown. */
  pause() {
    for (const send of this.#byId.values()) this.#forgetAttempt(send);
  }

  /** Sends what waits, the oldest of each conversation. */
  pump() {
    const begun = new Set();
    for (const send of this.#byId.values()) {
      if (send.failed !== null || begun.has(send.conversation)) continue;
      begun.add(send.conversation);
      if (send.timer === null && this.#inFlight < this.limit) this.#attempt(send);
    }
  }

  #attempt(send) {
    const { number, timers } = this.#options;
    const { conversation, id: client_msg_id, kind, body } = send;
    const request = number();
    const retry = send.attempts > 0;
    // Kept before it goes out: after a restart it must be known as a retry.
    send.attempts += 1;
    this.#keep();
    if (!this.#options.send({ request, conversation, client_msg_id, retry, kind, body })) {
      if (!retry) send.attempts = 0;
      return;
    }
    send.request = request;
    this.#inFlight += 1;
    send.timer = timers.set(() => {
      this.#forgetAttempt(send);
      this.pump();
    }, ANSWER_TIMEOUT_MS);
  }

  /** The attempt under way, or the wait for the next, is over. */
  #forgetAttempt(send) {
    if (send.timer !== null) this.#options.timers.clear(send.timer);
    if (send.request !== 0) this.#inFlight -= 1;
    send.timer = null;
    send.request = 0;
  }

  #new(fields) {
    const send = { ...fields, attempts: 0, failed: null, request: 0, timer: null };
    this.#byId.set(toHex(send.id), send);
    return send;
  }

  #remove(send) {
    this.#forgetAttempt(send);
    this.#byId.delete(toHex(send.id));
    this.#changed(send.conversation);
  }

  #changed(conversation) {
    this.#keep();
    this.#options.changed(conversation);
  }

  #keep() {
    const kept = [...this.#byId.values()].map((send) => ({
      id: toHex(send.id),
      conversation: String(send.conversation),
      kind: send.kind,
      body: toHex(send.body),
      createdMs: send.createdMs,
      attempts: send.attempts,
      failed: send.failed,
    }));
    this.#options.store.save(kept);
  }
}
