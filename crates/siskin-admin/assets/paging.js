// Lists that come in parts: as many as were asked for are shown, and shown anew while one looks.

import { fill, h } from "./dom.js";
import { count } from "./format.js";

const PART = 100;
const ROWS_MAX = 2000;

// Keeps `place` showing what `load({ limit, cursor })` gives under `key`, drawn by `show`. Gives what begins it anew.
export function pages(life, place, load, key, show, everyMs) {
  let wanted = PART;
  let loading = null;
  const error = h("div");
  const list = h("div");
  const more = h("button", { onclick: () => ((wanted = Math.min(wanted + PART, ROWS_MAX)), refresh()), hidden: true }, "Show more");
  const end = h("p", { class: "dim", hidden: true }, `These are the first ${count(ROWS_MAX)}: ask for less to see others.`);
  fill(place, error, list, more, end);

  // One at a time: what was asked for before is of no interest any more.
  const task = async () => {
    loading?.abort();
    const mine = (loading = new AbortController());
    const signal = AbortSignal.any([mine.signal, life.signal]);
    const rows = [];
    let cursor;
    do {
      const answer = await load({ limit: wanted - rows.length, cursor }, signal);
      rows.push(...answer[key]);
      cursor = answer.next ?? null;
    } while (cursor !== null && rows.length < wanted);
    fill(list, show(rows));
    more.hidden = cursor === null || wanted >= ROWS_MAX;
    end.hidden = cursor === null || wanted < ROWS_MAX;
  };
  const refresh = () => life.attempt(task, error);
  if (everyMs) life.every(everyMs, task, error);
  else refresh();
  return () => ((wanted = PART), refresh());
}
