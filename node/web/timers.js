// Timers that keep time in a hidden tab: browsers slow a hidden page's timers down to one a minute,
// which would end the session for want of heartbeats, but not those of a worker.

import { systemTimers } from "/client/client.js";

/** Timers as the client takes them, kept by a worker where there is one. */
export function workerTimers() {
  let worker;
  try {
    worker = new Worker("/web/timers-worker.js");
  } catch {
    return systemTimers;
  }
  const waiting = new Map();
  let last = 0;
  worker.onmessage = ({ data: id }) => {
    const work = waiting.get(id);
    waiting.delete(id);
    work?.();
  };
  return {
    now: () => Date.now(),
    set(work, ms) {
      last += 1;
      waiting.set(last, work);
      worker.postMessage({ id: last, ms });
      return last;
    },
    clear(id) {
      if (waiting.delete(id)) worker.postMessage({ id, ms: null });
    },
  };
}
