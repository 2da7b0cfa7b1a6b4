// The first screen: log in, or create an account.

import { logIn, signUp } from "/client/client.js";
import { byId, setText } from "./dom.js";

const SAYS = {
  BadName: "The name needs 2 to 32 of a–z, 0–9, _ . and -.",
  BadPassword: "The password needs 8 to 256 characters.",
  NameTaken: "Somebody else has this name already.",
  WrongCredentials: "Name or password is wrong.",
  RateLimited: "Too many attempts. Wait a little, then try again.",
  Busy: "The server is busy. Try again in a moment.",
  StoreUnavailable: "The server can't reach its store. Try again in a moment.",
  Unreachable: "The server can't be reached.",
};

const deviceName = () => {
  const agent = navigator.userAgent;
  const browser = /Firefox|Edg|Chrome|Safari/.exec(agent)?.[0] ?? "browser";
  const system = /Android|iPhone|iPad|Windows|Mac|Linux/.exec(agent)?.[0] ?? "";
  return `${browser} ${system}`.trim();
};

function wire(form, request, done) {
  const error = form.querySelector(".form-error");
  const button = form.querySelector("button");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { name, password } = Object.fromEntries(new FormData(form));
    if (!name || !password) {
      error.textContent = "Name and password are needed.";
      form.querySelector(name ? "[name=password]" : "[name=name]").focus();
      return;
    }
    error.textContent = "";
    button.disabled = true;
    try {
      const tokens = await request(name.trim().toLowerCase(), password);
      form.reset();
      done(tokens);
    } catch (failure) {
      error.textContent = SAYS[failure.code] ?? "That did not work. Try again.";
      form.querySelector("[name=password]").focus();
    } finally {
      button.disabled = false;
    }
  });
}

/** Wires the two forms; `done` gets the tokens. */
export function wireAuth(done) {
  wire(byId("login"), (name, password) => logIn(location.href, name, password, deviceName()), done);
  wire(byId("signup"), (name, password) => signUp(location.href, name, password), done);
}

/** Shows the screen, with a reason where there is one. */
export function showAuth(note = "") {
  byId("auth").hidden = false;
  byId("app").hidden = true;
  setText(byId("auth-note"), note);
  document.title = "Rookery";
  byId("login").querySelector("[name=name]").focus();
}
