// The worker behind timers.js: {id, ms} sets a timer, a null ms clears it, the id comes back.

const running = new Map();

onmessage = ({ data: { id, ms } }) => {
  clearTimeout(running.get(id));
  running.delete(id);
  if (ms === null) return;
  const ring = () => {
    running.delete(id);
    postMessage(id);
  };
  running.set(id, setTimeout(ring, ms));
};
