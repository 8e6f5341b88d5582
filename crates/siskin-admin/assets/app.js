// Which page is shown, and what all of them share: the menu, signing in, whether the broker answers, dark and light.

import { api, ApiError, authorization, isSignedIn, onSignIn, signOut, Unreachable } from "./api.js";
import { fields, fill, h } from "./dom.js";
import * as bans from "./pages/bans.js";
import * as client from "./pages/client.js";
import * as clients from "./pages/clients.js";
import * as log from "./pages/log.js";
import * as messages from "./pages/messages.js";
import * as overview from "./pages/overview.js";
import * as retained from "./pages/retained.js";
import * as settings from "./pages/settings.js";
import * as subscriptions from "./pages/subscriptions.js";
import * as topics from "./pages/topics.js";

const PAGES = [
  ["", "Overview", overview],
  ["clients", "Clients", clients],
  ["topics", "Topics", topics],
  ["retained", "Retained", retained],
  ["subscriptions", "Subscriptions", subscriptions],
  ["messages", "Messages", messages],
  ["log", "Log and trace", log],
  ["bans", "Bans", bans],
  ["settings", "Settings", settings],
];

const main = document.getElementById("page");
const banner = document.getElementById("banner");
let life = null;

// What a page does goes on for as long as it is shown, and not while nobody can see it.
class Life {
  constructor() {
    this.ending = new AbortController();
    this.signal = this.ending.signal;
  }

  // Does `task` now and then every `ms` after it was done; `place` as below.
  every(ms, task, place = null) {
    const turn = async () => {
      if (this.signal.aborted) return;
      if (!document.hidden) await this.attempt(task, place);
      setTimeout(turn, ms);
    };
    return turn();
  }

  // Does `task`; if the broker cannot be reached the banner says so until it can, if it says no `place` does.
  async attempt(task, place = null) {
    try {
      await task(this.signal);
      banner.hidden = true;
      if (place) fill(place);
    } catch (error) {
      if (this.signal.aborted || error.name === "AbortError") return;
      if (place && error instanceof ApiError) {
        fill(place, h("p", { class: "error", role: "alert" }, error.message));
      } else {
        banner.textContent = error.message;
        banner.hidden = false;
      }
      if (!(error instanceof ApiError || error instanceof Unreachable)) console.error(error);
    }
  }

  end() {
    this.ending.abort();
  }
}

function show() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const [path, title, page] = PAGES.find(([path]) => path === name) ?? PAGES[0];
  life?.end();
  life = new Life();
  banner.hidden = true;
  document.title = `${title} – Siskin`;
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.path === path) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  openMenu(false);
  const id = rest.length > 0 ? decoded(rest.join("/")) : null;
  if (page === clients && id !== null) client.render(main, life, id);
  else page.render(main, life, id);
  window.scrollTo(0, 0);
}

// What stands in an address; as it is if nobody can have written it so.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function openMenu(isOpen) {
  document.body.classList.toggle("menu-open", isOpen);
  document.getElementById("menu").setAttribute("aria-expanded", isOpen);
}

function showTheme() {
  const button = document.getElementById("theme");
  button.textContent = document.documentElement.dataset.theme === "dark" ? "Light" : "Dark";
}

// Asks for credentials until somebody gives some.
function askToSignIn(wrong) {
  const dialog = document.getElementById("sign-in");
  const error = document.getElementById("sign-in-error");
  error.textContent = wrong ?? "";
  error.hidden = wrong === null;
  return new Promise((resolve) => {
    const form = dialog.querySelector("form");
    form.onsubmit = (event) => {
      const given = fields(form);
      if (given.token === "" && given.user === "") return event.preventDefault();
      form.reset();
      document.getElementById("sign-out").hidden = false;
      resolve(authorization(given));
    };
    dialog.oncancel = (event) => event.preventDefault();
    dialog.showModal();
  });
}

async function nameNode() {
  const { node, version } = await api("stats");
  document.getElementById("node").textContent = `${node}, version ${version}`;
}

document.getElementById("nav").append(
  ...PAGES.map(([path, title]) => h("a", { href: `#/${path}`, "data-path": path }, title)),
);
// The address says which page is shown, so that a plain link to a part of this one would lead away from it.
document.querySelector(".skip").onclick = (event) => (event.preventDefault(), main.focus());
document.getElementById("menu").onclick = () => openMenu(!document.body.classList.contains("menu-open"));
document.getElementById("theme").onclick = () => {
  const { dataset } = document.documentElement;
  dataset.theme = dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("siskin.theme", dataset.theme);
  showTheme();
};
document.getElementById("sign-out").onclick = signOut;
document.getElementById("sign-out").hidden = !isSignedIn();
onSignIn(askToSignIn);
showTheme();
addEventListener("hashchange", show);
show();
nameNode().catch(() => {});
