// One page of a queue at a time: a decision is sent, and only when the server has it on disk does the next page show.
// Names are put in as text, never as HTML.
"use strict";

const TEXTS = {
  en: {
    who: "Name", order: "Order", finish: "Finish", keep: "Keep the present label", different: "Different documents", skip: "Skip",
    cut: "Cut here", join: "One document", begins: (file, page) => `${file}: does a document begin on page ${page}?`, page: (page, label) => (label ? `Page ${page} — ${label}` : `Page ${page}`),
    unknown: "Unknown", undo: "Undo", zoom: "Zoom", heat: "Heat map", search: "Search classes  ( / )", new: "New class",
    newNamed: (name) => `New class “${name}”`, prompt: "Name of the new class", given: (label) => `Present label: ${label}`,
    counts: (done, total) => `${done} of ${total}`, pace: (each, left) => `${each} s each, about ${left} left`,
    seconds: (n) => `${n} s`, minutes: (n) => `${n} min`, hours: (n) => `${n} h`,
    uncertain: "uncertain and diverse first", class: "by class", file: "by file",
    same: (n) => `${n} near duplicates: one label for all`, noPage: "This page cannot be shown", heatOf: (label) => `Heat map of “${label}”`,
    computing: (done, total) => `Looking at pages: ${done} of ${total}`, firstRound: (n) => `Suggestions after ${n} more labels`, starting: "Learning from the new labels",
    rounds: (round, labels, n) => `Round ${round}: learned from ${labels} labels, ${n} more to the next`, notLearning: (reason) => `Nothing is learned: ${reason}`,
    allDone: "Everything is decided", others: "The last ones are with other people", doneText: "The decisions are in these files:",
    ended: "The review has ended. This tab can be closed.", notSaved: "Not saved: docclf cannot be reached. Try again.", saved: (label) => `${label} ✓`,
    nothing: "Nothing to undo", noHeat: "There is no heat map for this page",
    closed: "docclf was started again: open the newest link from the terminal. Nothing is lost.",
  },
  ko: {
    who: "이름", order: "순서", finish: "끝내기", keep: "현재 라벨 유지", different: "서로 다른 문서", skip: "건너뛰기",
    cut: "여기서 나누기", join: "한 문서", begins: (file, page) => `${file}: ${page}페이지에서 새 문서가 시작됩니까?`, page: (page, label) => (label ? `${page}페이지 — ${label}` : `${page}페이지`),
    unknown: "모름", undo: "되돌리기", zoom: "확대", heat: "히트맵", search: "클래스 검색  ( / )", new: "새 클래스",
    newNamed: (name) => `새 클래스 “${name}”`, prompt: "새 클래스의 이름", given: (label) => `현재 라벨: ${label}`,
    counts: (done, total) => `${total}개 중 ${done}개`, pace: (each, left) => `장당 ${each}초, 약 ${left} 남음`,
    seconds: (n) => `${n}초`, minutes: (n) => `${n}분`, hours: (n) => `${n}시간`,
    uncertain: "불확실하고 다양한 순서", class: "클래스별", file: "파일 순서",
    same: (n) => `거의 같은 페이지 ${n}장: 라벨 하나를 함께 지정`, noPage: "이 페이지를 표시할 수 없습니다", heatOf: (label) => `“${label}” 히트맵`,
    computing: (done, total) => `페이지를 보는 중: ${total}장 중 ${done}장`, firstRound: (n) => `라벨 ${n}개를 더 지정하면 클래스를 제안합니다`, starting: "새 라벨로 학습하는 중",
    rounds: (round, labels, n) => `${round}회차: 라벨 ${labels}개로 학습, 다음까지 ${n}개`, notLearning: (reason) => `학습하지 않습니다: ${reason}`,
    allDone: "모두 검토했습니다", others: "남은 것은 다른 사람이 보고 있습니다", doneText: "결정이 저장된 파일:",
    ended: "검토를 마쳤습니다. 이 탭을 닫아도 됩니다.", notSaved: "저장하지 못했습니다: docclf에 연결할 수 없습니다. 다시 시도하세요.", saved: (label) => `${label} ✓`,
    nothing: "되돌릴 것이 없습니다", noHeat: "이 페이지에는 히트맵이 없습니다",
    closed: "docclf가 다시 시작되었습니다. 터미널의 최신 링크를 여세요. 저장된 결정은 그대로 있습니다.",
  },
};
const COMMAND_LETTERS = "dhknuz";
const CLASS_KEYS = "1234567890" + [..."abcdefghijklmnopqrstuvwxyz"].filter((one) => !COMMAND_LETTERS.includes(one)).join("");

const $ = (id) => document.getElementById(id);
const random = () => [...crypto.getRandomValues(new Uint8Array(12))].map((one) => one.toString(16).padStart(2, "0")).join("");
const holder = random();
const waiting = [];  // items that this tab holds; the first is shown
const made = [];  // decisions of this tab, the newest last
let version = 0, token = "", classes = [], busy = false, heatShown = false, canHeat = false, decisionId = random(), texts = TEXTS.en, ended = false;

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", "X-Docclf-Token": token },
  };
  const response = await fetch(path, options);
  const content = (response.headers.get("content-type") || "").includes("json") ? await response.json() : { reason: await response.text() };
  if (!response.ok) throw Object.assign(new Error(content.reason || response.statusText), { status: response.status });
  return content;
}

function element(tag, text, kind) {
  const made_ = document.createElement(tag);
  if (text !== undefined) made_.textContent = text;
  if (kind) made_.className = kind;
  return made_;
}

function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => $("toast").classList.remove("shown"), 2500);
}

const ofCuts = (item) => Boolean(item) && item.kind === "cuts";
const percent = (share) => (share === null || share === undefined ? "" : `${Math.round(share * 100)} %`);

function duration(seconds) {
  if (seconds < 90) return texts.seconds(Math.round(seconds));
  return seconds < 5400 ? texts.minutes(Math.round(seconds / 60)) : texts.hours((seconds / 3600).toFixed(1));
}

function showProgress(progress) {
  showProgress.last = progress;
  $("bar").max = progress.total;
  $("bar").value = progress.decided;
  $("counts").textContent = texts.counts(progress.decided, progress.total);
  const known = progress.seconds_each !== null && progress.decided < progress.total;
  $("pace").textContent = known ? texts.pace(progress.seconds_each.toFixed(1), duration(progress.seconds_left)) : "";
  showLearning(progress.learning);
}

function showLearning(learning) {
  $("learning").hidden = !learning;
  if (!learning) return;
  const { round, labels, missing, done, total, fitting, failure } = learning;
  const rounds = fitting ? texts.starting : round ? texts.rounds(round, labels, missing) : texts.firstRound(missing);
  $("learning").textContent = failure ? texts.notLearning(failure) : done < total ? `${rounds} · ${texts.computing(done, total)}` : rounds;
}

function showClasses() {
  const item = waiting[0], wanted = $("search").value.trim().toLowerCase();
  const shares = new Map(item ? [[item.suggested, item.confidence], [item.runner_up, item.runner_up_confidence]] : []);
  $("classes").replaceChildren();
  classes.forEach((name, place) => {
    if (wanted && !name.toLowerCase().includes(wanted)) return;
    const button = element("button", undefined, item && name === item.suggested ? "suggested" : "");
    button.type = "button";
    if (place < CLASS_KEYS.length) button.append(element("kbd", CLASS_KEYS[place]));
    button.append(element("span", name), element("span", percent(shares.get(name)), "share"));
    button.addEventListener("click", () => decide("label", name));
    $("classes").append(button);
  });
  const typed = $("search").value.trim(), isNew = typed && !classes.includes(typed);
  $("new").lastElementChild.textContent = isNew ? texts.newNamed(typed) : texts.new;
}

function showItem() {
  const item = waiting[0];
  $("end").hidden = Boolean(item) || ended;
  decisionId = random();
  heatShown = false;
  $("heat").setAttribute("aria-pressed", "false");
  zoom(false);
  $("pages").replaceChildren();
  if (!item) return showEnd();
  const several = item.pages.length > 1, cuts = ofCuts(item);
  $("pages").classList.toggle("many", several);
  $("pages").classList.toggle("cuts", cuts);
  for (const page of item.pages) $("pages").append(figure(page, several && caption(page, cuts)));
  $("name").textContent = cuts ? texts.begins(item.pages[1].file, item.pages[1].number) : several ? texts.same(item.pages.length) : item.pages[0].id;
  for (const id of ["cut", "join"]) $(id).hidden = !cuts;
  for (const id of ["unknown", "search", "classes", "new"]) $(id).hidden = cuts;
  const given = several ? null : item.pages[0].label;
  $("given").hidden = !given;
  $("given").textContent = given ? texts.given(given) : "";
  $("keep").hidden = !given || !classes.includes(given);
  $("different").hidden = item.kind !== "near_duplicates";
  $("note").hidden = !item.note;
  $("note").textContent = item.note;
  $("heat").hidden = !canHeat || cuts;
  $("search").value = "";
  showSuggestion(item);
  for (const next of waiting.slice(1)) for (const page of next.pages) new Image().src = `/pages/${page.name}.jpg?v=${page.version}`;
}

function showSuggestion(item) {
  $("accept").hidden = !item.suggested;
  $("accept").querySelector(".label").textContent = ofCuts(item) ? texts[item.suggested] : item.suggested || "";
  $("accept").querySelector(".share").textContent = percent(item.confidence);
  showClasses();
}

const caption = (page, cuts) => (cuts ? texts.page(page.number, page.label) : page.label ? `${page.id} — ${page.label}` : page.id);

function figure(page, caption_) {
  const outer = element("figure"), sheet = element("div", undefined, "sheet"), image = element("img", undefined, "page");
  image.alt = page.id;
  image.src = `/pages/${page.name}.jpg?v=${page.version}`;
  image.addEventListener("load", size);
  image.addEventListener("error", () => sheet.replaceChildren(element("div", texts.noPage, "broken")));
  sheet.addEventListener("click", (event) => zoom(!$("stage").classList.contains("zoomed"), event));
  sheet.append(image);
  outer.append(sheet);
  if (caption_) outer.append(element("figcaption", caption_));
  return outer;
}

function showEnd() {
  const { decided, total } = showProgress.last || { decided: 0, total: 0 };
  $("end").querySelector("h1").textContent = decided < total ? texts.others : texts.allDone;
  $("end-undo").disabled = !made.length;
}

function size() {  // pages fill the stage; zoomed they are twice as large, and never smaller than they are
  const stage = $("stage"), sheets = [...document.querySelectorAll(".sheet img.page")], several = sheets.length > 1;
  const columns = getComputedStyle($("pages")).gridTemplateColumns.split(" ").filter((width) => parseFloat(width) > 0).length;
  const across = several ? Math.max(1, columns) : 1;
  const room = [stage.clientWidth / across - 24, (stage.clientHeight - 24) / (sheets.length > across ? 2 : 1) - (several ? 28 : 0)];
  for (const image of sheets) {
    const whole = Math.min(room[0] / image.naturalWidth, room[1] / image.naturalHeight) || 0;
    const wanted = stage.classList.contains("zoomed") ? Math.max(1, 2 * whole) : whole;
    image.style.width = `${Math.floor(image.naturalWidth * wanted)}px`;
  }
}

function zoom(wanted, event) {
  const stage = $("stage"), box = event && event.currentTarget.getBoundingClientRect();
  const at = box ? [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height] : [0.5, 0];
  stage.classList.toggle("zoomed", wanted);
  size();
  if (!wanted) return;
  const sheet = event ? event.currentTarget : stage.querySelector(".sheet");
  if (!sheet) return;
  stage.scrollLeft = sheet.offsetLeft + at[0] * sheet.offsetWidth - stage.clientWidth / 2;
  stage.scrollTop = sheet.offsetTop + at[1] * sheet.offsetHeight - stage.clientHeight / 2;
}

function heat() {
  const item = waiting[0];
  if (!item || !canHeat) return;
  heatShown = !heatShown;
  $("heat").setAttribute("aria-pressed", String(heatShown));
  document.querySelectorAll("img.heat").forEach((one) => one.remove());
  const label = item.suggested || item.pages[0].label;
  if (!heatShown || !label) return;
  toast(texts.heatOf(label));
  [...document.querySelectorAll(".sheet")].forEach((sheet, place) => {
    const image = element("img", undefined, "heat");
    image.alt = texts.heatOf(label);
    image.src = `/heat/${item.pages[place].name}.png?v=${item.pages[place].version}&label=${encodeURIComponent(label)}`;
    image.addEventListener("error", () => { image.remove(); toast(texts.noHeat); });
    sheet.append(image);
  });
}

async function fill() {
  const before = version;
  const found = await ask("/api/next", { holder, order: $("order").value, count: 3 });
  classes = found.classes;
  if (before !== version) return;  // asked before the latest decision: what it gives may be decided by now
  const place = new Map(waiting.map((item, number) => [item.key, number]));
  for (const item of found.items) {
    if (!place.has(item.key)) waiting.push(item);
    else if (!waiting[place.get(item.key)].suggested && item.suggested) {  // the first suggestion for a page at hand
      waiting[place.get(item.key)] = item;
      if (place.get(item.key) === 0) showSuggestion(item);
    }
  }
  showProgress(found.progress);
}

function follow() {  // pages at hand get suggestions as soon as these are learned
  const learning = showProgress.last && showProgress.last.learning;
  const expected = learning && !learning.failure && (learning.fitting || learning.done < learning.total);
  if (expected && !busy && !ended && waiting.length && !document.hidden) fill().catch(() => {});
}

async function guarded(work) {
  if (busy || ended) return;
  busy = true;
  try {
    await work();
  } catch (error) {
    toast(error.status === 403 ? texts.closed : error.status ? error.message : texts.notSaved);
    if (error.status === 409) {  // the server knows better which pages wait
      waiting.length = 0;
      await fill().catch(() => {});
      showItem();
    }
  } finally {
    busy = false;
  }
}

function decide(answer, label = null, same = null) {
  return guarded(async () => {
    const item = waiting[0];
    if (!item) return;
    if (item.kind === "near_duplicates" && same === null) same = true;
    const sent = { holder, id: decisionId, item: item.key, answer, label, same, who: $("who").value.trim() };
    const { progress } = await ask("/api/decide", sent);
    made.push(decisionId);
    version += 1;
    waiting.shift();
    showProgress(progress);
    toast(texts.saved(label || texts[answer]));
    if (!waiting.length) await fill();
    showItem();
    const empty = !waiting.length;
    if (waiting.length < 3) fill().then(() => empty && waiting.length && showItem()).catch(() => {});
  });
}

function accept() {
  const item = waiting[0];
  if (item && item.suggested) return ofCuts(item) ? decide(item.suggested) : decide("label", item.suggested);
}

function undo() {
  return guarded(async () => {
    const id = made[made.length - 1];
    if (!id) return toast(texts.nothing);
    const { item, progress } = await ask("/api/undo", { holder, id });
    made.pop();
    version += 1;
    const place = waiting.findIndex((one) => one.key === item.key);
    if (place >= 0) waiting.splice(place, 1);
    waiting.unshift(item);
    showProgress(progress);
    showItem();
  });
}

function addClass() {
  const name = $("search").value.trim() || (prompt(texts.prompt) || "").trim();
  if (!name) return;
  let added = null;
  return guarded(async () => {
    const found = await ask("/api/classes", { name, who: $("who").value.trim() });
    classes = found.classes;
    added = found.name;
  }).then(() => (added === null ? undefined : decide("label", added)));
}

function finish() {
  return guarded(async () => {
    const { files } = await ask("/api/finish", {});
    ended = true;
    waiting.length = 0;
    $("end").hidden = false;
    $("end").querySelector("h1").textContent = texts.ended;
    $("end-text").textContent = texts.doneText;
    $("files").replaceChildren(...files.map((file) => element("li", file)));
    $("end-undo").hidden = $("end-finish").hidden = true;
  });
}

function setLanguage(name) {
  texts = TEXTS[name];
  document.documentElement.lang = $("language").value = name;
  try { localStorage.setItem("docclf-language", name); } catch { /* private windows have no storage */ }
  document.querySelectorAll("[data-text]").forEach((one) => { one.textContent = texts[one.dataset.text]; });
  [...$("order").options].forEach((one) => { one.textContent = texts[one.value]; });
  $("search").placeholder = texts.search;
  $("search").setAttribute("aria-label", texts.search);
  if (showProgress.last) showProgress(showProgress.last);
  if (token) showItem();
}

function onKey(event) {
  if (event.ctrlKey && event.key.toLowerCase() === "z") { event.preventDefault(); return undo(); }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
  if (event.target === $("search")) return onSearchKey(event);
  if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
  const item = waiting[0], key = event.key;
  if (event.target.tagName === "BUTTON" && (key === "Enter" || key === " ")) return;  // the button itself
  const about = ofCuts(item) ? { "1": () => decide("cut"), "2": () => decide("join") } : { u: () => decide("unknown"), n: addClass, "/": () => $("search").focus() };
  const act = {
    ...about, Enter: accept, " ": () => decide("skip"), Backspace: undo, z: () => zoom(!$("stage").classList.contains("zoomed")), h: () => !$("heat").hidden && heat(),
    k: () => !$("keep").hidden && decide("label", item.pages[0].label), d: () => !$("different").hidden && decide("unknown", null, false),
    Escape: () => zoom(false),
  }[key] || (CLASS_KEYS.includes(key) && classes[CLASS_KEYS.indexOf(key)] !== undefined ? () => decide("label", classes[CLASS_KEYS.indexOf(key)]) : null);
  if (!act) return;
  event.preventDefault();
  act();
}

function onSearchKey(event) {
  if (event.key === "Escape") { $("search").value = ""; showClasses(); $("search").blur(); }
  if (event.key !== "Enter") return;
  const first = $("classes").querySelector("button");
  $("search").blur();
  if (first) first.click(); else addClass();
}

function onFocusAfterClick(event) {  // so that Enter and Space mean the page again
  if (event.detail && event.target.closest("button")) event.target.closest("button").blur();
}

async function start() {
  const state = await ask("/api/state");
  token = state.token;
  classes = state.classes;
  canHeat = state.heat;
  $("source").textContent = $("source").title = state.source;
  document.title = `${state.source} – docclf review`;
  for (const name of state.orders) $("order").append(Object.assign(element("option"), { value: name }));
  let language = navigator.language.startsWith("ko") ? "ko" : "en", who = "";
  try { language = localStorage.getItem("docclf-language") || language; who = localStorage.getItem("docclf-who") || ""; } catch { /* as above */ }
  $("who").value = who || state.who;
  await fill();
  setLanguage(language in TEXTS ? language : "en");
}

document.addEventListener("keydown", onKey);
document.addEventListener("click", onFocusAfterClick);
$("accept").addEventListener("click", accept);
$("cut").addEventListener("click", () => decide("cut"));
$("join").addEventListener("click", () => decide("join"));
$("keep").addEventListener("click", () => decide("label", waiting[0].pages[0].label));
$("different").addEventListener("click", () => decide("unknown", null, false));
$("skip").addEventListener("click", () => decide("skip"));
$("unknown").addEventListener("click", () => decide("unknown"));
$("undo").addEventListener("click", undo);
$("end-undo").addEventListener("click", undo);
$("zoom").addEventListener("click", () => zoom(!$("stage").classList.contains("zoomed")));
$("heat").addEventListener("click", heat);
$("new").addEventListener("click", addClass);
$("finish").addEventListener("click", finish);
$("end-finish").addEventListener("click", finish);
$("search").addEventListener("input", showClasses);
$("language").addEventListener("change", () => setLanguage($("language").value));
$("who").addEventListener("change", () => { try { localStorage.setItem("docclf-who", $("who").value.trim()); } catch { /* as above */ } });
$("order").addEventListener("change", () => guarded(async () => { $("order").blur(); await ask("/api/release", { holder }); waiting.length = 0; await fill(); showItem(); }));
addEventListener("resize", size);
addEventListener("pagehide", () => fetch("/api/release", { method: "POST", keepalive: true, body: JSON.stringify({ holder }), headers: { "Content-Type": "application/json", "X-Docclf-Token": token } }));
setInterval(() => { if (token && !ended && waiting.length) ask("/api/next", { holder, order: $("order").value, count: waiting.length }).catch(() => {}); }, 60000);
setInterval(follow, 1500);
start().catch((error) => toast(error.status === 403 ? texts.closed : error.message));
