/* What a script may add, and nothing that a page needs: times in the reader's zone, countdowns, copying, focus. */
"use strict";
document.documentElement.classList.add("js");

const plural = (n, unit) => `${n} ${unit}${n === 1 ? "" : "s"}`;

function words(seconds) {
  if (seconds <= 0) return "0 seconds";
  const hours = Math.floor(seconds / 3600), minutes = Math.floor((seconds % 3600) / 60), rest = seconds % 60;
  if (hours >= 48) return plural(Math.floor(hours / 24), "day");
  if (hours) return `${plural(hours, "hour")} ${plural(minutes, "minute")}`;
  if (minutes >= 5) return plural(minutes, "minute");
  return minutes ? `${plural(minutes, "minute")} ${plural(rest, "second")}` : plural(rest, "second");
}

/* The record is in UTC; the reader sees their own zone, and the title keeps the other. */
for (const time of document.querySelectorAll("time[data-moment]")) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) continue;
  const day = at.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
  const hour = at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
  time.title = time.textContent.trim();
  time.textContent = `${day} at ${hour}`;
}

/* The server's clock counts, not this machine's: only the time since the page came is measured here. */
const began = performance.now();
for (const clock of document.querySelectorAll("[data-seconds-left]")) {
  const start = Number(clock.dataset.secondsLeft), said = document.getElementById("clock-said");
  const warned = new Set();
  const show = () => {
    const left = Math.max(0, Math.round(start - (performance.now() - began) / 1000));
    clock.textContent = words(left);
    for (const mark of [900, 300, 60]) {
      if (left <= mark && start > mark && !warned.has(mark) && said) { warned.add(mark); said.textContent = `${words(mark)} left. Save your work.`; }
    }
    if (left === 0 && start > 0) { window.clearInterval(timer); window.location.reload(); }
  };
  const timer = window.setInterval(show, 1000);
  show();
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
    const before = button.textContent;
    button.textContent = "Copied";
    window.setTimeout(() => { button.textContent = before; }, 2000);
  });
}

for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
window.addEventListener("pageshow", () => { for (const form of document.forms) delete form.dataset.sent; });

/* A page that waits looks whether its record has moved on, and is read anew only then: nothing is said twice. */
const waiting = document.querySelector("[data-refresh]");
if (waiting) window.setInterval(async () => {
  const answer = await fetch(window.location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer || !answer.ok) return;
  const now = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-refresh]");
  if (!now || now.dataset.refresh !== waiting.dataset.refresh) window.location.reload();
}, 2000);
