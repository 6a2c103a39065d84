"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("map"), brush = canvas.getContext("2d");
const field = document.getElementById("search"), found = document.getElementById("found");
const about = document.getElementById("about"), dark = matchMedia("(prefers-color-scheme: dark)");
const unpack = text => {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  return Float32Array.from(new Uint16Array(bytes.buffer), value => value / 65535);
};
const xs = unpack(data.x), ys = unpack(data.y), count = xs.length;
const colours = data.clusters.map((_, n) => `hsl(${(n * 137.5) % 360} 60% 50%)`);
const middles = data.clusters.map((_, n) => {
  const of = [...data.cluster.keys()].filter(i => data.cluster[i] === n);
  const middle = values => of.map(i => values[i]).sort((a, b) => a - b)[of.length >> 1];
  return {x: middle(xs), y: middle(ys), of};
});
const texts = data.entries.map(([name, folder, caption], i) =>
  `${data.folders[folder]}/${name} ${caption} ${data.clusters[data.cluster[i]][0]}`.toLowerCase());
const sheets = data.sheets.map(url => {
  const image = new Image();
  image.onload = draw;
  image.src = url;
  return image;
});
let scale = 1, left = 0, top_ = 0, width = 1, height = 1, chosen = -1, hits = null, at = -1;
let waiting = false;

const across = i => left + xs[i] * scale, down = i => top_ + ys[i] * scale;

function showAll() {
  const side = width > 700 ? 300 : 0;
  scale = Math.max(Math.min(width - side, height) * 0.92, 100);
  left = side + (width - side - scale) / 2;
  top_ = (height - scale) / 2;
  draw();
}

function zoom(factor, x = width / 2, y = height / 2) {
  const to = Math.min(Math.max(scale * factor, 100), 2e6) / scale;
  left = x - (x - left) * to;
  top_ = y - (y - top_) * to;
  scale *= to;
  draw();
}

function show(x, y, least) {
  scale = Math.max(scale, least);
  left = width / 2 - x * scale;
  top_ = height / 2 - y * scale;
  draw();
}

function draw() {
  if (!waiting) {
    waiting = true;
    requestAnimationFrame(paint);
  }
}

function paint() {
  waiting = false;
  const dense = Math.sqrt(count) * 1.1, side = Math.min(Math.max(scale / dense, 4), 2.5 * data.side);
  const style = getComputedStyle(document.body);
  brush.clearRect(0, 0, width, height);
  for (let i = 0; i < count; i++) {
    const x = across(i), y = down(i);
    if (x < -side || y < -side || x > width + side || y > height + side) continue;
    const lit = hits === null || hits.has(i), place = data.thumbnail[i];
    brush.globalAlpha = lit ? 1 : 0.12;
    const sheet = place >= 0 && side > 14 ? sheets[Math.floor(place / data.sheet)] : null;
    if (sheet && sheet.complete && sheet.naturalWidth) {
      const n = place % data.sheet, s = data.side;
      brush.drawImage(sheet, n % data.across * s, Math.floor(n / data.across) * s, s, s,
        x - side / 2, y - side / 2, side, side);
    } else {
      brush.fillStyle = colours[data.cluster[i]];
      const dot = Math.min(Math.max(side / 3, 2), 8);
      brush.fillRect(x - dot / 2, y - dot / 2, dot, dot);
    }
    if (i === chosen || (hits !== null && lit && side > 14)) {
      brush.strokeStyle = style.getPropertyValue("--accent");
      brush.lineWidth = i === chosen ? 4 : 2;
      brush.strokeRect(x - side / 2, y - side / 2, side, side);
    }
  }
  brush.globalAlpha = 1;
  names(style);
}

function names(style) {
  const taken = [];
  brush.textAlign = "center";
  brush.textBaseline = "middle";
  brush.lineJoin = "round";
  brush.font = "600 15px system-ui, sans-serif";
  data.clusters.forEach(([name], n) => {
    const x = left + middles[n].x * scale, y = top_ + middles[n].y * scale;
    const half = brush.measureText(name).width / 2 + 6;
    if (x < 0 || y < 0 || x > width || y > height) return;
    if (taken.some(other => Math.abs(other.y - y) < 20 && Math.abs(other.x - x) < other.half + half)) return;
    taken.push({x, y, half});
    brush.lineWidth = 5;
    brush.strokeStyle = style.backgroundColor;
    brush.strokeText(name, x, y);
    brush.fillStyle = style.color;
    brush.fillText(name, x, y);
  });
}

function nearest(x, y) {
  let best = -1, least = 30 * 30;
  for (let i = 0; i < count; i++) {
    const far = (across(i) - x) ** 2 + (down(i) - y) ** 2;
    if (far < least && (hits === null || hits.has(i))) [best, least] = [i, far];
  }
  return best;
}

function choose(i) {
  chosen = i;
  about.replaceChildren();
  if (i >= 0) {
    const [name, folder, caption] = data.entries[i], [group, confidence] = data.clusters[data.cluster[i]];
    const [base, rest] = data.links[i], link = data.bases[base] + rest;
    const title = document.createElement(link ? "a" : "b");
    title.textContent = name;
    if (link) Object.assign(title, {href: link, target: "_blank", rel: "noopener"});
    about.append(title);
    for (const line of [caption, data.folders[folder], `${group}, ${Math.round(100 * confidence)} %`]) {
      if (line) about.appendChild(document.createElement("span")).textContent = line;
    }
  }
  draw();
}

function search() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  hits = words.length ? new Set([...texts.keys()].filter(i => words.every(word => texts[i].includes(word)))) : null;
  at = -1;
  found.textContent = hits === null ? "" : `${hits.size.toLocaleString("en")} found${hits.size ? ", Enter goes to them" : ""}`;
  draw();
}

function next(step = 1) {
  const list = hits === null ? [...xs.keys()] : [...hits];
  if (!list.length) return;
  at = (at + step + list.length) % list.length;
  choose(list[at]);
  show(xs[list[at]], ys[list[at]], Math.sqrt(count) * 60);
}

const fingers = new Map();
let moved = 0;
canvas.addEventListener("pointerdown", event => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, event);
  moved = 0;
});
canvas.addEventListener("pointermove", event => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
  if (fingers.size === 2) {
    const other = [...fingers.values()].find(one => one.pointerId !== event.pointerId);
    const apart = one => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    zoom(apart(event) / Math.max(apart(before), 1), other.clientX, other.clientY);
  } else {
    left += dx;
    top_ += dy;
    draw();
  }
  moved += Math.abs(dx) + Math.abs(dy);
  fingers.set(event.pointerId, event);
});
canvas.addEventListener("pointerup", event => {
  fingers.delete(event.pointerId);
  if (moved < 5) choose(nearest(event.clientX, event.clientY));
});
canvas.addEventListener("pointercancel", event => fingers.delete(event.pointerId));
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.clientX, event.clientY);
}, {passive: false});

const moves = {ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === field) {
    if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") { field.value = ""; search(); canvas.focus(); }
    return;
  }
  if (event.key === "/") { field.focus(); field.select(); }
  else if (event.key === "+" || event.key === "=") zoom(1.5);
  else if (event.key === "-") zoom(1 / 1.5);
  else if (event.key === "0") showAll();
  else if (event.key === "n") next();
  else if (event.key === "p") next(-1);
  else if (event.key === "Escape") choose(-1);
  else if (moves[event.key]) {
    left += moves[event.key][0] * 80;
    top_ += moves[event.key][1] * 80;
    draw();
  } else return;
  event.preventDefault();
});
field.addEventListener("input", search);

const list = document.getElementById("groups");
data.clusters.forEach(([name, confidence, size, also], n) => {
  const button = document.createElement("button"), dot = document.createElement("i");
  const label = document.createElement("span"), figures = document.createElement("small");
  dot.style.background = colours[n];
  label.textContent = name;
  figures.textContent = `${size.toLocaleString("en")} · ${Math.round(100 * confidence)} %`;
  button.title = also.length ? `also: ${also.join(", ")}` : "";
  button.append(dot, label, figures);
  button.addEventListener("click", () => {
    const box = values => middles[n].of.map(i => values[i]).sort((a, b) => a - b);
    const x = box(xs), y = box(ys), tenth = Math.floor(x.length / 10), last = x.length - 1 - tenth;
    const room = Math.max(x[last] - x[tenth], y[last] - y[tenth], 1e-4);
    scale = Math.min(width, height) * 0.6 / room;
    show((x[tenth] + x[last]) / 2, (y[tenth] + y[last]) / 2, scale);
  });
  list.appendChild(document.createElement("li")).append(button);
});

function fit() {
  const ratio = devicePixelRatio || 1;
  [width, height] = [innerWidth, innerHeight];
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  brush.setTransform(ratio, 0, 0, ratio, 0, 0);
  draw();
}
addEventListener("resize", fit);
dark.addEventListener("change", draw);
fit();
showAll();
