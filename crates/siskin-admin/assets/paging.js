// Lists that come in parts: as many as were asked for are shown, and shown anew while one looks.

import { fill, h } from "./dom.js";

const PART = 100;
const PARTS_MAX = 20;

// Keeps `place` showing what `load({ limit, cursor })` gives under `key`, drawn by `show`. Gives what begins it anew.
export function pages(life, place, load, key, show, everyMs) {
  let wanted = 1;
  let turn = 0;
  const error = h("div");
  const list = h("div");
  const more = h("button", { onclick: () => ((wanted += 1), refresh()) }, "Show more");
  fill(place, error, list, more);

  const refresh = () => life.attempt(async (signal) => {
    const mine = (turn += 1);
    const rows = [];
    let cursor;
    for (let part = 0; part < PARTS_MAX && rows.length < wanted * PART; part += 1) {
      const answer = await load({ limit: PART, cursor }, signal);
      rows.push(...answer[key]);
      cursor = answer.next;
      if (cursor === null || cursor === undefined) break;
    }
    if (mine !== turn) return;
    fill(list, show(rows));
    more.hidden = cursor === null || cursor === undefined;
  }, error);
  more.hidden = true;
  if (everyMs) life.every(everyMs, refresh);
  else refresh();
  return () => ((wanted = 1), refresh());
}
