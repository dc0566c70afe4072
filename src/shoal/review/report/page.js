"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [ID, STATUS, RANK, VALUES, METRIC, FINALS, EPOCHS, SECONDS] = [0, 1, 2, 3, 4, 5, 6, 7];
  const $ = (id) => document.getElementById(id);
  const rows = data.rows;
  const tableRows = [...document.querySelectorAll("#runs tbody tr")];
  let visible = new Set(rows.keys());
  let chosen = null;
  let lines = null; // the learning curves, once unpacked

  // ---- leaderboard

  const readers = { rank: (r) => r[RANK], id: (r) => r[ID], status: (r) => r[STATUS], metric: (r) => r[METRIC],
    epochs: (r) => r[EPOCHS], seconds: (r) => r[SECONDS] };
  data.settings.forEach((_, i) => { readers["value" + i] = (r) => r[VALUES][i]; });
  data.metrics.forEach((_, i) => { readers["final" + i] = (r) => r[FINALS][i]; });

  const byName = { id: readers.id, run: readers.id, status: readers.status, epochs: readers.epochs, time: readers.seconds };
  if (data.metric) byName[data.metric] = readers.metric;
  data.metrics.forEach((name, i) => { byName[name] = readers["final" + i]; });
  data.settings.forEach((setting, i) => { byName[setting.name] = readers["value" + i]; });

  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), undefined, { numeric: true }));

  function sort(button) {
    const header = button.closest("th");
    const falling = header.getAttribute("aria-sort") === "ascending";
    document.querySelectorAll("#runs th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const read = readers[button.dataset.key];
    const order = [...rows.keys()].sort((a, b) => {
      const [x, y] = [read(rows[a]), read(rows[b])];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return (falling ? compare(y, x) : compare(x, y)) || a - b;
    });
    document.querySelector("#runs tbody").append(...order.map((i) => tableRows[i]));
  }

  const condition = /^(.+?)(<=|>=|!=|<|>|=)(.+)$/;

  function holds(word, i) {
    const parts = condition.exec(word);
    const read = parts && byName[parts[1]];
    if (!read) return tableRows[i].textContent.toLowerCase().includes(word.toLowerCase());
    const value = read(rows[i]);
    if (value === null) return false;
    const number = Number(parts[3]);
    const order = typeof value === "number" && !Number.isNaN(number) ? value - number : compare(String(value), parts[3]);
    return { "<": order < 0, ">": order > 0, "<=": order <= 0, ">=": order >= 0, "!=": order !== 0,
      "=": order === 0 || parts[3].split("|").includes(shown(value)) }[parts[2]];
  }

  function filter() {
    const words = $("filter").value.split(/\s+/).filter(Boolean);
    visible = new Set([...rows.keys()].filter((i) => words.every((word) => holds(word, i))));
    tableRows.forEach((row, i) => { row.hidden = !visible.has(i); });
    $("count").textContent = visible.size === rows.length ? count(rows.length) : `${visible.size} of ${count(rows.length)}`;
    drawSoon();
  }

  const count = (n) => (n === 1 ? "1 run" : `${n} runs`);

  function element(name, text, properties = {}) {
    return Object.assign(document.createElement(name), { textContent: text }, properties);
  }

  function choose(i) {
    if (chosen !== null) tableRows[chosen].classList.remove("chosen");
    chosen = i;
    tableRows[i].classList.add("chosen");
    const facts = element("dl", "");
    const fact = (name, text) => text && facts.append(element("dt", name), element("dd", text));
    fact("status", rows[i][STATUS]);
    fact("reason", data.reasons[i]);
    data.settings.forEach((setting, k) => fact(setting.name, shown(rows[i][VALUES][k])));
    if (data.metric) fact(data.metric, shown(rows[i][METRIC]));
    const box = $("chosen");
    box.replaceChildren(element("h3", rows[i][ID]), facts);
    if (data.commands[i]) {
      const line = element("div", "", { className: "command" });
      const button = element("button", "Copy", { type: "button" });
      button.dataset.copy = "";
      line.append(element("code", data.commands[i]), button);
      box.append(line);
    }
    box.hidden = false;
    drawSoon();
  }

  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.key) sort(button);
    if (button.dataset.show !== undefined) choose(Number(button.dataset.show));
    if (button.dataset.copy !== undefined) copy(button);
  });
  let typing;
  $("filter").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filter, 120); });
  $("reset").addEventListener("click", () => { $("filter").value = ""; filter(); });

  // ---- plots

  const shown = (value) => (value === null || value === undefined ? ""
    : typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value));
  const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const series = () => color("--series").split(",").map((one) => one.trim());
  const faded = (hex, alpha) => `rgba(${[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).join(",")},${alpha})`;
  const ranked = () => rows.map((row, i) => ({ row, i })).filter(({ row, i }) => row[RANK] && row[METRIC] !== null && visible.has(i));
  const wide = (values) => Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) >= 20;
  const label = (i) => `${escaped(rows[i][ID])}<br>${data.settings.map((s, k) => `${escaped(s.name)}=${escaped(shown(rows[i][VALUES][k]))}`).join("<br>")}`
    + `<br><b>${escaped(data.metric)}=${escaped(shown(rows[i][METRIC]))}</b>`;
  const median = (values) => {
    const sorted = [...values].sort((a, b) => a - b);
    return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2;
  };
  const inOrder = (k) => (a, b) => data.settings[k].numeric ? compare(a, b) : data.settings[k].order.indexOf(a) - data.settings[k].order.indexOf(b);
  const levels = (k) => [...new Set(rows.filter((row) => row[RANK]).map((row) => row[VALUES][k]).filter((value) => value !== null))].sort(inOrder(k));

  /** Whether the values of a setting have their true distances on an axis; else they stand side by side, as on a grid with 0, 0.01 and 10. */
  function spaced(k) {
    const setting = data.settings[k];
    if (!setting.numeric || setting.repeats) return false;
    const known = levels(k).map(setting.logarithmic ? Math.log10 : Number);
    const range = known[known.length - 1] - known[0];
    return known.length > 8 || known.every((value, n) => n === 0 || value - known[n - 1] > 0.08 * range);
  }

  function layout(more = {}) {
    const axis = { gridcolor: color("--line"), linecolor: color("--line"), zeroline: false, automargin: true, exponentformat: "power" };
    const { xaxis = {}, yaxis = {}, ...rest } = more;
    return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 55, r: 12, t: 10, b: 45 },
      font: { color: color("--ink"), size: 13, family: "system-ui, sans-serif" }, hoverlabel: { align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--faint"), activecolor: color("--ink") },
      showlegend: false, xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest };
  }

  function plot(id, traces, more) {
    const box = $(id);
    if (!box) return;
    Plotly.react(box, traces, layout(more), { responsive: true, displaylogo: false, displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
    if (!box.dataset.bound) {
      box.dataset.bound = "yes";
      box.on("plotly_click", (event) => {
        const i = event.points[0]?.customdata;
        if (typeof i === "number") choose(i);
      });
      if (id === "parallel") box.on("plotly_selected", (event) => event?.range && brush(event.range));
    }
  }

  /** What was marked on the axes of the parallel coordinates stands as conditions in the filter, where it can be read and changed. */
  function brush({ x, y }) {
    const names = [...data.settings.map((setting) => setting.name), data.metric];
    const [from, to] = [Math.ceil(Math.min(...x)), Math.floor(Math.max(...x))];
    const axes = from <= to ? [...names.keys()].filter((k) => from <= k && k <= to) : [Math.round((x[0] + x[1]) / 2)];
    const kept = $("filter").value.split(/\s+/).filter((word) => word && !axes.some((k) => condition.exec(word)?.[1] === names[k]));
    const marked = axes.flatMap((k) => {
      const place = scale(k).place;
      const values = k < data.settings.length ? levels(k) : ranked().map(({ row }) => row[METRIC]);
      const within = values.filter((value) => place(value) >= Math.min(...y) && place(value) <= Math.max(...y));
      if (!within.length || within.length === values.length) return [];
      if (k < data.settings.length && !data.settings[k].numeric) return [`${names[k]}=${within.join("|")}`];
      return [`${names[k]}>=${Math.min(...within)}`, `${names[k]}<=${Math.max(...within)}`];
    });
    $("filter").value = [...kept, ...marked].join(" ");
    filter();
  }

  /** A logarithmic axis labels 1, 2 and 5 where it spans little, else whole powers; a linear one is Plotly's own. */
  function axis(values, logarithmic = wide(values)) {
    if (!logarithmic) return { type: "linear" };
    const decades = Math.log10(Math.max(...values) / Math.min(...values));
    return { type: "log", ...(decades < 2.5 ? { dtick: "D2", tickformat: "~g" } : { dtick: Math.ceil(decades / 6), tickformat: "~g" }) };
  }

  const title = (text) => ({ text: escaped(text), standoff: 8 });

  function against(k) {
    const setting = data.settings[k];
    const points = ranked().filter(({ row }) => row[VALUES][k] !== null);
    const values = points.map(({ row }) => row[METRIC]);
    const known = levels(k);
    const continuous = spaced(k);
    const place = (value) => (continuous ? value : known.indexOf(value));
    const at = new Map();
    points.forEach(({ row }) => at.set(row[VALUES][k], [...(at.get(row[VALUES][k]) ?? []), row[METRIC]]));
    const medians = [...at.entries()].sort((a, b) => inOrder(k)(a[0], b[0]));
    const [first] = series();
    const traces = [
      { x: points.map(({ row }) => place(row[VALUES][k])), y: values, mode: "markers", type: "scatter",
        customdata: points.map(({ i }) => i), text: points.map(({ i }) => label(i)), hovertemplate: "%{text}<extra></extra>",
        marker: { color: points.map(({ i }) => (i === chosen ? color("--mark") : faded(first, 0.6))), size: points.map(({ i }) => (i === chosen ? 12 : 7)), line: { width: 0 } } },
      { x: medians.map(([value]) => place(value)), y: medians.map(([, found]) => median(found)), mode: "lines",
        type: "scatter", line: { color: first, width: 2 }, hoverinfo: "skip" },
    ];
    const ticks = continuous
      ? { type: setting.logarithmic ? "log" : "linear", ...(known.length <= 8 ? { tickvals: known, ticktext: known.map((v) => escaped(shown(v))) } : {}) }
      : known.length <= 12 ? { tickvals: known.map((_, n) => n), ticktext: known.map((v) => escaped(clipped(shown(v)))) } : { showticklabels: !setting.numeric };
    plot("against" + k, traces, { xaxis: { title: title(setting.name), ...ticks },
      yaxis: { title: title(data.metric), ...axis(values) } });
  }

  const clipped = (text, n = 18) => (text.length > n ? text.slice(0, n - 1) + "…" : text);

  function scale(k) {
    const isMetric = k === data.settings.length;
    const setting = isMetric ? { numeric: true } : data.settings[k];
    const values = isMetric ? ranked().map(({ row }) => row[METRIC]) : levels(k);
    if (!isMetric && !spaced(k)) {
      const place = (value) => (values.length > 1 ? values.indexOf(value) / (values.length - 1) : 0.5);
      const ticks = values.length <= 8 ? values : [values[0], values[values.length - 1]];
      return { place, ticks };
    }
    const logarithmic = isMetric ? wide(values) : setting.logarithmic;
    const f = logarithmic ? Math.log10 : Number;
    const [low, high] = [f(Math.min(...values)), f(Math.max(...values))];
    const place = (value) => (high > low ? (f(value) - low) / (high - low) : 0.5);
    const between = [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (high - low)).map((v) => Number((logarithmic ? 10 ** v : v).toPrecision(3)));
    return { place, ticks: !isMetric && values.length <= 6 ? values : between };
  }

  function parallel() {
    if (!$("parallel")) return;
    const n = data.settings.length + 1;
    const scales = [...Array(n).keys()].map(scale);
    const points = ranked();
    const palette = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#d9c022"];
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const traces = palette.map((shade) => ({ x: [], y: [], text: [], customdata: [], mode: "lines", type: "scatter",
      line: { color: dark && shade === "#440154" ? "#7a4fa3" : shade, width: 1.3 }, opacity: 0.65, hovertemplate: "%{text}<extra></extra>", connectgaps: false }));
    const value = (row, k) => (k < n - 1 ? row[VALUES][k] : row[METRIC]);
    const add = (trace, i) => {
      for (let k = 0; k < n; k += 1) {
        if (value(rows[i], k) === null) continue;
        trace.x.push(k); trace.y.push(scales[k].place(value(rows[i], k))); trace.text.push(label(i)); trace.customdata.push(i);
      }
      trace.x.push(null); trace.y.push(null); trace.text.push(""); trace.customdata.push(null);
    };
    points.forEach(({ i }, at) => add(traces[palette.length - 1 - Math.floor((at / points.length) * palette.length)], i));
    if (chosen !== null && rows[chosen][METRIC] !== null && visible.has(chosen)) {
      const marked = { ...traces[0], x: [], y: [], text: [], customdata: [], opacity: 1, line: { color: color("--mark"), width: 4 } };
      add(marked, chosen);
      traces.push(marked);
    }
    const names = [...data.settings.map((setting) => setting.name), data.metric];
    const ticks = scales.flatMap((one, k) => one.ticks.map((tick) => ({ x: k, y: one.place(tick), text: escaped(clipped(shown(tick), 14)),
      showarrow: false, xanchor: k === n - 1 ? "left" : "right", xshift: k === n - 1 ? 5 : -5, font: { size: 12 }, bgcolor: faded(color("--paper"), 0.75), borderpad: 1 })));
    const heads = names.map((name, k) => ({ x: k, y: 1.1, text: `<b>${escaped(clipped(name, 24))}</b>`, showarrow: false }));
    plot("parallel", traces.reverse(), { hovermode: "closest", dragmode: "select", selections: [], margin: { l: 75, r: 75, t: 10, b: 10 }, annotations: [...ticks, ...heads],
      xaxis: { visible: false, range: [-0.12, n - 0.88], fixedrange: true }, yaxis: { visible: false, range: [-0.08, 1.18], fixedrange: true },
      shapes: names.map((_, k) => ({ type: "line", x0: k, x1: k, y0: 0, y1: 1, layer: "below", line: { color: color("--faint"), width: 1 } })) });
  }

  function heat() {
    if (!$("heat")) return;
    const [kx, ky] = [Number($("heat-x").value), Number($("heat-y").value)];
    const [xs, ys] = [levels(kx), levels(ky)];
    const cells = ys.map(() => xs.map(() => []));
    ranked().forEach(({ row }) => {
      const [x, y] = [xs.indexOf(row[VALUES][kx]), ys.indexOf(row[VALUES][ky])];
      if (x >= 0 && y >= 0) cells[y][x].push(row[METRIC]);
    });
    const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
    const means = cells.map((line) => line.map(mean));
    const all = means.flat().filter((value) => value !== null);
    const logarithmic = all.length > 0 && wide(all);
    const z = means.map((line) => line.map((value) => (value === null ? null : logarithmic ? Math.log10(value) : value)));
    const legible = xs.length * ys.length <= 150 && xs.length <= ($("heat").clientWidth - 170) / 55;
    const name = (k, value) => escaped(`${data.settings[k].name}=${shown(value)}`);
    const ticks = (values) => ({ type: "category", tickvals: values.map((_, n) => n), ticktext: values.map((v) => escaped(clipped(shown(v), 14))) });
    const low = Math.min(...z.flat().filter((v) => v !== null));
    const high = Math.max(...z.flat().filter((v) => v !== null));
    const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (high - low));
    plot("heat", [{ type: "heatmap", x: xs.map((_, n) => n), y: ys.map((_, n) => n), z, xgap: 2, ygap: 2, colorscale: "Viridis", reversescale: !data.rises,
      text: cells.map((line, y) => line.map((found, x) => (found.length ? shown(mean(found)) : ""))), texttemplate: legible ? "%{text}" : "",
      customdata: cells.map((line, y) => line.map((found, x) => `${name(kx, xs[x])}<br>${name(ky, ys[y])}<br>mean ${escaped(data.metric)} ${found.length ? shown(mean(found)) : "none"} of ${count(found.length)}`)),
      hovertemplate: "%{customdata}<extra></extra>", hoverongaps: true,
      colorbar: { thickness: 12, tickvals: marks, ticktext: marks.map((v) => shown(logarithmic ? 10 ** v : v)) } }],
    { margin: { l: 75, r: 10, t: 10, b: 55 }, xaxis: { title: title(data.settings[kx].name), ...ticks(xs), showgrid: false }, yaxis: { title: title(data.settings[ky].name), ...ticks(ys), showgrid: false } });
  }

  function curves() {
    if (!$("curve")) return;
    const names = Object.keys(lines.metrics);
    const metric = names[$("curve-metric").selectedIndex];
    const groups = lines.groups.filter((group) => group.curves[metric] && group.rows.some((i) => visible.has(i)));
    const drawn = $("curve-all").checked ? groups : groups.slice(0, 8);
    const shades = series();
    const phone = innerWidth < 640;
    const traces = [];
    drawn.forEach((group, n) => {
      const { x, mean, low, high } = group.curves[metric];
      const shade = shades[n % shades.length];
      const name = escaped(clipped(group.label, phone ? 40 : 60));
      if (group.rows.length > 1) {
        const edge = { x, mode: "lines", type: "scatter", line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: String(n) };
        traces.push({ ...edge, y: low }, { ...edge, y: high, fill: "tonexty", fillcolor: faded(shade, 0.18) });
      }
      traces.push({ x, y: mean, mode: x.length > 1 ? "lines" : "markers", type: "scatter", name, legendgroup: String(n), line: { color: shade, width: 2 },
        ...(group.rows.length === 1 ? { customdata: x.map(() => group.rows[0]) } : {}),
        hovertemplate: `${name}<br>%{x}: %{y:.4g} (${count(group.rows.length)})<extra></extra>` });
      const end = x.length ? x[x.length - 1] : -Infinity;
      if (group.rows.length > 1) group.rows.filter((i) => visible.has(i) && lines.metrics[metric][i]).forEach((i) => {
        const [at, values] = lines.metrics[metric][i];
        const further = lines.axes[at].map((place, k) => [place, values[k]]).filter(([place]) => place >= end);
        if (further.length > 1) traces.push({ x: further.map(([place]) => place), y: further.map(([, value]) => value), mode: "lines", type: "scatter",
          showlegend: false, legendgroup: String(n), line: { color: faded(shade, 0.7), width: 1 }, customdata: further.map(() => i),
          hovertemplate: `${escaped(rows[i][ID])}<br>%{x}: %{y:.4g}<extra></extra>` });
      });
    });
    const own = chosen === null ? null : lines.metrics[metric][chosen];
    if (own) {
      traces.push({ x: lines.axes[own[0]], y: own[1], mode: "lines", type: "scatter", name: escaped(rows[chosen][ID]),
        line: { color: color("--mark"), width: 3 }, hovertemplate: `${escaped(rows[chosen][ID])}<br>%{x}: %{y:.4g}<extra></extra>` });
    }
    const positive = traces.every((trace) => trace.y.every((value) => value > 0));
    $("curve-log").disabled = !positive;
    plot("curve", traces, { showlegend: true, legend: { orientation: "h", yanchor: "top", y: phone ? -0.3 : -0.16, font: { size: phone ? 11 : 12 } },
      xaxis: { title: title("epoch") }, hovermode: "closest",
      yaxis: { title: title(metric), ...axis(traces.flatMap((trace) => trace.y), positive && $("curve-log").checked) } });
  }

  // ---- drawing: a plot waits until it is about to be seen, so that a thousand runs open at once

  const painters = { parallel, heat, curve: curves };
  data.settings.forEach((_, k) => { painters["against" + k] = () => against(k); });
  const stale = new Set();
  const near = new Set();
  let ready = false;
  let waiting = false;

  function paint(id) {
    if (ready && stale.delete(id)) painters[id]();
  }

  function drawSoon() {
    Object.keys(painters).filter($).forEach((id) => stale.add(id));
    if (!ready || waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; near.forEach(paint); });
  }

  const watcher = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    near[isIntersecting ? "add" : "delete"](target.id);
    if (isIntersecting) paint(target.id);
  }), { rootMargin: "300px" });

  async function unpack(id) {
    const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
    $(id).remove();
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function start() {
    const library = document.createElement("script");
    const texts = await Promise.all(["plotly", "lines"].map(unpack));
    library.textContent = texts[0];
    document.head.append(library);
    lines = JSON.parse(texts[1]);
    ready = true;
    drawSoon();
    Object.keys(painters).filter($).forEach((id) => watcher.observe($(id)));
    document.documentElement.dataset.ready = "yes";
  }

  ["heat-x", "heat-y"].forEach((id) => $(id)?.addEventListener("change", heat));
  ["curve-metric", "curve-all", "curve-log"].forEach((id) => $(id)?.addEventListener("change", curves));
  addEventListener("beforeprint", () => [...stale].forEach(paint));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSoon);
  matchMedia("(max-width: 640px)").addEventListener("change", drawSoon);
  start().catch(() => {
    document.querySelector("main").prepend(element("p", "This browser cannot draw the plots; a newer one can. The tables are complete.", { className: "note" }));
  });
})();
