// Who types where: what is told of oneself, seldom, and what is heard of others, for a while.

const HOLDS_MS = 6_000;
const EVERY_MS = 3_000;

export class Typing {
  #timers;
  #send;
  #changed;
  #running = new Map();
  #told = new Map();

  /**
   * @param {object} timers
   * @param {(fields: object) => void} send tells the service
   * @param {(conversation: Conversation) => void} changed somebody began or stopped
   */
  constructor(timers, send, changed) {
    this.#timers = timers;
    this.#send = send;
    this.#changed = changed;
  }

  /** The user types, or stopped. */
  set(conversation, active) {
    const now = this.#timers.now();
    const since = now - (this.#told.get(conversation.id) ?? -Infinity);
    if (active ? since < EVERY_MS : since > HOLDS_MS) return;
    this.#send({ conversation: conversation.id, active });
    if (active) this.#told.set(conversation.id, now);
    else this.#told.delete(conversation.id);
  }

  /** The user sent what was typed. */
  sent(conversation) {
    this.#told.delete(conversation.id);
  }

  /** Another member types, or stopped. */
  heard(conversation, user, active) {
    this.stop(conversation, user);
    if (!active) return;
    conversation.typing.add(user);
    const timer = this.#timers.set(() => this.stop(conversation, user), HOLDS_MS);
    this.#running.set(`${conversation.id} ${user}`, timer);
    this.#changed(conversation);
  }

  /** One, or all who type in a conversation, stopped. */
  stop(conversation, only) {
    for (const user of only === undefined ? [...conversation.typing] : [only]) {
      if (!conversation.typing.delete(user)) continue;
      const key = `${conversation.id} ${user}`;
      this.#timers.clear(this.#running.get(key));
      this.#running.delete(key);
      this.#changed(conversation);
    }
  }
}
