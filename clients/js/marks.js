// How far this user's devices got, as told to the service: gathered for a moment, never taken back.

import { MarkKind } from "./codec.js";
import { max } from "./conversation.js";

const AFTER_MS = 150;

export class Marks {
  #timers;
  #send;
  #me;
  #wanted = new Set();
  #timer = null;

  /**
   * @param {object} timers
   * @param {(name: string, fields: object) => boolean} send false when nothing can be sent now
   * @param {() => bigint | undefined} me the user
   */
  constructor(timers, send, me) {
    this.#timers = timers;
    this.#send = send;
    this.#me = me;
  }

  /** Tells a conversation's marks soon. */
  want(conversation) {
    this.#wanted.add(conversation);
    this.#timer ??= this.#timers.set(() => {
      this.#timer = null;
      for (const one of this.#wanted) this.#tell(one);
      this.#wanted.clear();
    }, AFTER_MS);
  }

  #tell({ id: conversation, members, wanted, told, left }) {
    const own = left ? undefined : members.get(this.#me());
    if (!own) return;
    const send = (kind, seq) => this.#send("Mark", { conversation, kind, seq });
    if (wanted.read > max(own.read, told.read) && send(MarkKind.Read, wanted.read)) {
      told.read = wanted.read;
      // Having read implies delivery.
      told.delivered = max(told.delivered, wanted.read);
    }
    if (wanted.delivered > max(own.delivered, told.delivered)) {
      if (send(MarkKind.Delivered, wanted.delivered)) told.delivered = wanted.delivered;
    }
  }
}
