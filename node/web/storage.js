// What the page keeps between visits: tokens (shared by all tabs) and messages on their way (each
// tab its own, taken over by the next tab when one is closed).

const TOKENS = "rookery.tokens";
const PENDING = "rookery.pending.";
const TAB = "rookery.tab";
const MUTEX = "rookery.mutex";
const MUTEX_HOLDS_MS = 15_000;

function readJson(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

/** The tokens as kept; null when nobody is logged in. */
export const loadTokens = () => readJson(TOKENS);

/** Keeps tokens, or forgets them. */
export function saveTokens(tokens) {
  if (tokens) localStorage.setItem(TOKENS, JSON.stringify(tokens));
  else localStorage.removeItem(TOKENS);
}

/** Calls back when another tab logged in or out. */
export function onTokensChanged(work) {
  addEventListener("storage", (event) => {
    if (event.key === TOKENS || event.key === null) work(loadTokens());
  });
}

const randomId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16)).join("");

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Runs `work` alone among all tabs. */
export function exclusively(work) {
  // Browsers offer locks to secure origins only; elsewhere a key of the storage has to do.
  return navigator.locks ? navigator.locks.request("rookery.refresh", work) : underMutex(work);
}

async function underMutex(work) {
  const me = randomId();
  for (;;) {
    const held = readJson(MUTEX);
    if (!held || held.until < Date.now()) {
      const mine = JSON.stringify({ me, until: Date.now() + MUTEX_HOLDS_MS });
      localStorage.setItem(MUTEX, mine);
      // Another tab may write at the same time: the last one has it.
      await pause(50);
      if (localStorage.getItem(MUTEX) === mine) break;
    }
    await pause(50 + Math.random() * 100);
  }
  try {
    return await work();
  } finally {
    if (readJson(MUTEX)?.me === me) localStorage.removeItem(MUTEX);
  }
}

/** Takes a tab's lock and holds it until the tab is gone. False when another tab holds it. */
function holdTab(id) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    void navigator.locks.request(PENDING + id, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock && new Promise(() => {});
    });
  });
}

/** Runs `work` if the tab of this id is gone. */
function ifGone(id, work) {
  if (!navigator.locks) return Promise.resolve(work());
  const options = { ifAvailable: true };
  return navigator.locks.request(PENDING + id, options, (lock) => void (lock && work()));
}

/**
 * The store of messages on their way of this tab, with those of tabs that are gone.
 * @param {string} user whose
 */
export async function openPendingStore(user) {
  let tab = sessionStorage.getItem(TAB);
  // A duplicated tab brings its twin's id along.
  if (!tab || !(await holdTab(tab))) {
    tab = randomId();
    sessionStorage.setItem(TAB, tab);
    await holdTab(tab);
  }
  const prefix = `${PENDING}${user}.`;
  const own = prefix + tab;
  const found = new Map((readJson(own) ?? []).map((send) => [send.id, send]));
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(prefix) && key !== own);
  for (const key of keys) {
    await ifGone(key.slice(prefix.length), () => {
      for (const send of readJson(key) ?? []) found.set(send.id, send);
      localStorage.removeItem(key);
    });
  }
  const save = (sends) => {
    if (sends.length > 0) localStorage.setItem(own, JSON.stringify(sends));
    else localStorage.removeItem(own);
  };
  const sends = [...found.values()].sort((a, b) => a.createdMs - b.createdMs);
  save(sends);
  return { load: () => sends, save };
}
