// Requests and their answers: numbers, the limit in flight, time-outs, retries.
//
// Every request here may be carried out more than once without harm, so one whose answer is lost
// with a connection is asked again on the next. Sends are not here: see sends.js.

import { LAST_OWN_REQUEST } from "./connection.js";

const ANSWER_TIMEOUT_MS = 15_000;
const MOST_TRIES = 5;
const RETRY_FIRST_MS = 200;
const RETRY_MOST_MS = 10_000;
const MOVING_MOST_MS = 1_000;
/** `OutcomeUnknown` and `Moved`. */
const MOVING = [402, 403];
const NO_ANSWER = { code: 0, class: 4, retryable: true, retry_after_ms: 0, detail: "no answer" };

/** A request failed. `retryable` does not say that nothing happened. */
export class RequestError extends Error {
  name = "RequestError";

  constructor({ code, class: kind, retryable, retry_after_ms: after, detail }) {
    super(detail || `error ${code}`);
    this.code = code;
    this.class = kind;
    this.retryable = retryable;
    this.retryAfterMs = after;
  }
}

/**
 * Milliseconds before the next try: what the service asked for, and a random part that grows. While a
 * conversation only moves to another node, which takes seconds, it does not grow far.
 */
export function retryMs(tries, { code, retry_after_ms: after }, random) {
  const most = MOVING.includes(code) ? MOVING_MOST_MS : RETRY_MOST_MS;
  return after + random() * Math.min(most, RETRY_FIRST_MS * 2 ** tries);
}

export class Requests {
  #send;
  #timers;
  #random;
  #inFlight = new Map();
  #queue = [];
  #last = LAST_OWN_REQUEST;

  /** Most requests without answer, as the service says. */
  limit = 32;

  /** @param {(name: string, fields: object) => boolean} send false when nothing can be sent now */
  constructor(send, timers, random) {
    this.#send = send;
    this.#timers = timers;
    this.#random = random;
  }

  /** A number that no other request of the session has. */
  number() {
    this.#last = this.#last >= 0xffff_ffff ? LAST_OWN_REQUEST + 1 : this.#last + 1;
    return this.#last;
  }

  /**
   * Asks, now or when there is a connection and room.
   * @returns {Promise<object>} the answering frame's fields
   * @throws {RequestError}
   */
  ask(name, fields) {
    return new Promise((resolve, reject) => {
      this.#queue.push({ name, fields, resolve, reject, tries: 0, timer: null });
      this.pump();
    });
  }

  /** A session is on the line: what has no answer is asked again. `Sync` belongs to its session. */
  restart(resumed) {
    const lost = [...this.#inFlight.values()];
    for (const one of lost) this.#timers.clear(one.timer);
    this.#inFlight.clear();
    this.#queue.unshift(...lost);
    if (!resumed) this.#queue = this.#queue.filter((one) => one.name !== "Sync");
  }

  /** The connection is lost: nothing times out until the next. */
  pause() {
    for (const one of this.#inFlight.values()) this.#timers.clear(one.timer);
  }

  /** Sends what waits. */
  pump() {
    while (this.#queue.length > 0 && this.#inFlight.size < this.limit) {
      const [next] = this.#queue;
      const request = this.number();
      if (!this.#send(next.name, { request, ...next.fields })) return;
      this.#queue.shift();
      next.tries += 1;
      this.#inFlight.set(request, next);
      next.timer = this.#timers.set(() => this.refused(request, NO_ANSWER), ANSWER_TIMEOUT_MS);
    }
  }

  /** @returns {boolean} whether the answer was waited for */
  answered(request, fields) {
    const one = this.#take(request);
    one?.resolve(fields);
    this.pump();
    return one !== null;
  }

  /** @returns {boolean} whether the answer was waited for */
  refused(request, error) {
    const one = this.#take(request);
    if (one && error.retryable && one.tries < MOST_TRIES) {
      const again = () => {
        this.#queue.push(one);
        this.pump();
      };
      this.#timers.set(again, retryMs(one.tries, error, this.#random));
    } else {
      one?.reject(new RequestError(error));
    }
    this.pump();
    return one !== null;
  }

  #take(request) {
    const one = this.#inFlight.get(request);
    if (!one) return null;
    this.#timers.clear(one.timer);
    this.#inFlight.delete(request);
    return one;
  }
}
