// The shell's countdown: asks the tunnel's own origin how much time and budget is left; warns at 15, 5 and 1 minutes.
"use strict";
const { origin, home } = document.body.dataset;
const byId = (id) => document.getElementById(id);
const WARNINGS = [[60, "Less than a minute left. Save now."], [300, "Less than 5 minutes left. Save, and submit what should leave."],
  [900, "Less than 15 minutes left. What is in your home folder is kept; what runs is stopped."]];
let ends = null;
let said = "";

function say(text) {
  if (text === said) return;
  said = text;
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

function bytes(count) {
  if (count === null) return "…";
  const units = ["B", "kB", "MB", "GB"];
  const step = count < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(count) / 3));
  return `${(count / 1000 ** step).toFixed(step ? 1 : 0)} ${units[step]}`;
}

function tick() {
  if (ends === null) return;
  const left = Math.max(0, Math.round((ends - performance.now()) / 1000));
  const part = (n) => String(n).padStart(2, "0");
  byId("left").textContent = `${Math.floor(left / 3600)}:${part(Math.floor(left / 60) % 60)}:${part(left % 60)}`;
  const warning = WARNINGS.find(([limit]) => left <= limit);
  if (left === 0) say("This tunnel has ended. Your files are kept until the permit ends.");
  else if (warning) say(warning[1]);
  document.title = `${byId("left").textContent} · sulku`;
}

// A gateway that was restarted has forgotten who is inside: go in again by the broker, but not for ever.
function enterAgain() {
  const last = Number(sessionStorage.getItem("entered") || 0);
  if (Date.now() - last < 30000) {
    say("This browser is not inside the tunnel. Choose “Enter again”.");
    return;
  }
  sessionStorage.setItem("entered", String(Date.now()));
  location.assign(`${origin}/.sulku/enter`);
}

async function look() {
  try {
    const answer = await fetch(`${origin}/.sulku/status`, { credentials: "include", cache: "no-store" });
    if (answer.status === 401) return enterAgain();
    if (answer.status === 410) {
      ends = performance.now();
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const state = await answer.json();
    ends = performance.now() + state.seconds_left * 1000;
    byId("budget").textContent = bytes(state.bytes_left);
    byId("title").textContent = state.permit_title;
    const low = state.bytes_total && state.bytes_left !== null && state.bytes_left < state.bytes_total / 10;
    say(low ? `Only ${bytes(state.bytes_left)} of screen budget left. Save now; ask a steward for more.` : "");
  } catch {
    say("The gateway does not answer. Your work is kept; this page tries again.");
  }
}

look();
tick();
setInterval(tick, 1000);
setInterval(look, 5000);
