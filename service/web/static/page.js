// What pages do beyond being read: all of them can be read and used without it.
"use strict";

const announce = (text) => {
  const place = document.getElementById("announce");
  if (place && place.textContent !== text) place.textContent = text;
};

// Copying. Buttons are hidden until somebody can use them.
const offerCopies = (root) => {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll(".copy[hidden]")) button.hidden = false;
};

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("done");
    announce("Copied");
    setTimeout(() => { button.classList.remove("done"); announce(""); }, 1500);
  } catch {
    announce("The browser does not let pages copy");
  }
});

// Times that pass while a page is looked at.
const lasting = (seconds) => {
  if (seconds < 10) return seconds.toFixed(1) + " s";
  if (seconds < 60) return Math.floor(seconds) + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min " + String(Math.floor(seconds % 60)).padStart(2, "0") + " s";
  if (seconds < 172800) return Math.floor(seconds / 3600) + " h " + String(Math.floor(seconds / 60) % 60).padStart(2, "0") + " min";
  return Math.floor(seconds / 86400) + " days";
};
const passed = (seconds) => {
  if (seconds < 10) return "just now";
  if (seconds < 60) return Math.floor(seconds) + " s ago";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min ago";
  if (seconds < 172800) return Math.floor(seconds / 3600) + " h ago";
  return Math.floor(seconds / 86400) + " days ago";
};
// The service's clock counts: what it said when the page was made leads from this machine's to it.
const made = document.querySelector("footer time");
const ahead = made ? Date.parse(made.dateTime) - Date.now() : 0;
const tick = () => {
  const now = Date.now() + ahead;
  for (const time of document.querySelectorAll("time[data-since], time[data-ago]")) {
    const seconds = Math.max(0, (now - Date.parse(time.dateTime)) / 1000);
    time.textContent = "since" in time.dataset ? lasting(seconds) : passed(seconds);
  }
};
setInterval(tick, 1000);

// A part of a page that the service draws anew when something changes. What a person presses, writes
// in or has selected is not replaced meanwhile: the newest state waits until they are done.
for (const part of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(part.dataset.live);
  const name = (element) => element.getAttribute("href") || element.dataset.copy || (element.form && element.form.getAttribute("action"));
  const word = () => (part.querySelector(".status .state") || {}).textContent;
  let pressed = false;
  let waiting = null;
  const used = () => {
    const held = document.activeElement;
    const selection = document.getSelection();
    return pressed || (part.contains(held) && held.matches("input, summary")) || (!selection.isCollapsed && selection.containsNode(part, true));
  };
  const draw = () => {
    if (waiting === null || used()) return;
    const held = document.activeElement;
    const focused = part.contains(held) ? name(held) : null;
    const before = word();
    part.innerHTML = waiting;
    waiting = null;
    offerCopies(part);
    if (focused) {
      const again = [...part.querySelectorAll("a, button")].find((one) => name(one) === focused);
      if (again) again.focus({ preventScroll: true });
    }
    const now = word();
    if (now && now !== before) announce(now);
  };
  // A click comes behind the release: it finds what was pressed.
  const drawSoon = () => setTimeout(draw);
  const press = () => { pressed = true; };
  const release = () => { pressed = false; drawSoon(); };
  // The release of another button may go to a menu that it opens.
  part.addEventListener("pointerdown", (event) => { if (event.button === 0) press(); });
  part.addEventListener("keydown", (event) => { if (event.key === " ") press(); });
  for (const end of ["pointerup", "pointercancel", "keyup"]) document.addEventListener(end, release);
  window.addEventListener("blur", release);
  part.addEventListener("focusout", drawSoon);
  document.addEventListener("selectionchange", drawSoon);
  source.addEventListener("state", (event) => { waiting = event.data; draw(); });
  source.addEventListener("end", () => source.close());
}

// A log that is followed.
for (const log of document.querySelectorAll("[data-log]")) {
  const box = document.querySelector("[data-follow]");
  const check = box && box.querySelector("input");
  if (box) box.hidden = false;
  const following = () => !check || check.checked;
  const down = () => { if (following()) log.scrollTop = log.scrollHeight; };
  const source = new EventSource(log.dataset.log);
  // How many lines stay on the page: the service has all of them.
  const most = 20000;
  source.addEventListener("lines", (event) => {
    const wait = document.querySelector("[data-until-lines]");
    if (wait) wait.remove();
    log.insertAdjacentHTML("beforeend", event.data);
    while (log.childElementCount > most) log.firstElementChild.remove();
    down();
  });
  source.addEventListener("end", () => { source.close(); announce("The log has ended"); if (box) box.hidden = true; });
  log.addEventListener("wheel", (event) => { if (event.deltaY < 0 && check) check.checked = false; }, { passive: true });
  if (check) check.addEventListener("change", down);
  if (!location.hash) down();
}

// The error's place: a build's page leads to it before it knows the line.
if (location.hash === "#error") {
  const jump = document.getElementById("error");
  if (jump && jump.getAttribute("href")) location.replace(jump.href);
}

// A slash leads to what can be searched.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, [contenteditable]")) return;
  const field = document.querySelector("[data-slash]");
  if (!field) return;
  event.preventDefault();
  field.focus();
  field.select();
});

offerCopies(document);
