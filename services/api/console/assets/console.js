// The console's only script. Every page works without it; with it pages go on by themselves, files can be dropped, and
// the theme can be chosen.
"use strict";

const body = document.body;
const QUIET_MS = 20_000;

// Live: one stream a page; each part that has changed takes the place of the one before.

function follow(url) {
  const state = document.getElementById("live-state");
  let source = null;
  let saidAt = 0;

  const show = (isOn) => {
    state.dataset.state = isOn ? "on" : "off";
    state.textContent = isOn ? "live" : "not live";
  };

  const put = (id, html) => {
    const part = document.getElementById(id);
    if (!part) return;
    if (part.hasAttribute("data-calm")) {
      // For who listens: not more often than one can hear.
      if (Date.now() - saidAt < QUIET_MS) return;
      saidAt = Date.now();
    }
    const active = document.activeElement;
    const href = part.contains(active) ? active.getAttribute("href") : null;
    const busy = part.contains(active) && active !== part && href === null;
    if (busy) return;
    part.innerHTML = html;
    if (href !== null) part.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus();
  };

  // Refused, not only lost. Why, an EventSource does not tell: asked once more, another way.
  const refused = async () => {
    source = null;
    const question = new AbortController();
    let waitS = 5;
    let goOn = () => location.reload(); // the session has ended: a page says so
    try {
      const answer = await fetch(url, { headers: { Accept: "application/json" }, signal: question.signal });
      if (answer.ok) goOn = open;
      if (answer.status === 429) {
        waitS = Number(answer.headers.get("Retry-After")) || waitS;
        document.getElementById("live-problem").textContent = (await answer.json()).detail;
        goOn = open;
      }
    } catch {
      goOn = open; // nobody answers: it goes on when somebody does
    }
    question.abort();
    setTimeout(() => { if (!document.hidden && !source) goOn(); }, waitS * 1_000);
  };

  const open = () => {
    source = new EventSource(url);
    source.onopen = () => show(true);
    source.onerror = () => {
      show(false);
      if (source.readyState === EventSource.CLOSED) refused();
    };
    source.addEventListener("parts", (event) => {
      for (const [id, html] of Object.entries(JSON.parse(event.data))) put(id, html);
    });
  };

  const close = () => {
    source?.close();
    source = null;
    show(false);
  };

  // A page that nobody sees holds no stream: a browser has only six to one place.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : source || open()));
  window.addEventListener("pagehide", close);
  if (!document.hidden) open();
}

// Files: dropped, or chosen; sent one by one, with progress.

function takeFiles(form) {
  const input = form.querySelector("input[type=file]");
  const told = form.querySelector("[data-told]");
  const bar = form.querySelector("progress");

  const send = (file) => new Promise((resolve) => {
    const data = new FormData(form);
    data.set(input.name, file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("X-CSRF-Token", body.dataset.csrf);
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = (event) => { if (event.lengthComputable) bar.value = event.loaded / event.total; };
    request.onloadend = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { answer = {}; }
      resolve({ isTaken: request.status >= 200 && request.status < 300, words: answer.detail || request.statusText || "no answer" });
    };
    request.send(data);
  });

  const sendAll = async (files) => {
    if (!files.length) return;
    const refused = [];
    bar.hidden = false;
    for (const [place, file] of [...files].entries()) {
      told.textContent = `Sending ${file.name} (${place + 1} of ${files.length}) …`;
      const answer = await send(file);
      if (!answer.isTaken) refused.push(`${file.name}: ${answer.words}`);
    }
    bar.hidden = true;
    if (!refused.length) return location.reload();
    told.textContent = refused.join("\n");
    told.classList.add("alarm");
    input.value = "";
  };

  form.addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("over"); });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    sendAll(event.dataTransfer.files);
  });
  form.addEventListener("submit", (event) => { event.preventDefault(); sendAll(input.files); });
}

// The theme: as the system has it until somebody chooses; kept in a cookie, so that the server draws it at once.

function chooseTheme(button) {
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    root.dataset.theme = isDark ? "light" : "dark";
    document.cookie = `leadline_theme=${root.dataset.theme}; path=/console; max-age=31536000; samesite=lax`;
  });
}

// What cannot be taken back is asked for; filters apply when they are chosen; all of a table at once.

for (const form of document.querySelectorAll("form[data-ask]")) {
  form.addEventListener("submit", (event) => { if (!confirm(form.dataset.ask)) event.preventDefault(); });
}
for (const select of document.querySelectorAll("form[data-auto] select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
for (const all of document.querySelectorAll("input[data-all]")) {
  all.addEventListener("change", () => {
    for (const each of document.querySelectorAll(`input[name="${all.dataset.all}"]`)) each.checked = all.checked;
  });
}
for (const form of document.querySelectorAll("form[data-files]")) takeFiles(form);
const theme = document.getElementById("theme");
if (theme) chooseTheme(theme);
if (body.dataset.live) follow(body.dataset.live);
