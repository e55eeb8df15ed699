/** Draws what the attribute data-plot of an element says, and again whenever it, the width or the colour scheme changes. */

/** @typedef {{ kind: "burn-down", limit: number, reserve: number, now: number, times: number[], left: (number | null)[], expected: (number | null)[] }} BurnDown */
/** @typedef {{ kind: "answers" | "saved", step: number, times: number[], series: number[][] }} Bars */

/** The library's script comes first and leaves its class here. */
const Plot = globalThis.uPlot;

/** @type {WeakMap<Element, { kind: string, plot: import("uplot") }>} */
const drawn = new WeakMap();

const tall = 170;
const low = 100;

/** @param {string} name a colour of page.css */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** @returns {import("uplot").Axis} */
function axis() {
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const grid = { stroke: colour("line"), width: 1 };
  return { stroke: colour("muted"), font, grid, ticks: { ...grid, size: 4 } };
}

/**
 * @param {number} width
 * @param {number} height
 * @returns {Pick<import("uplot").Options, "width" | "height" | "legend" | "cursor" | "padding">}
 */
function frame(width, height) {
  return { width, height, legend: { show: false }, cursor: { show: false }, padding: [8, 28, 0, 0] };
}

/** Whole numbers only: half a pull is none. @type {import("uplot").Axis.Values} */
const whole = (_plot, values) => values.map((value) => (Number.isInteger(value) ? String(value) : ""));

/** @type {import("uplot").Axis.Values} */
const bytes = (_plot, values) =>
  values.map((value) => {
    const power = value < 1 ? 0 : Math.floor(Math.log2(value) / 10);
    const amount = value / 1024 ** power;
    return `${Number(amount.toFixed(1))} ${["B", "KiB", "MiB", "GiB", "TiB"][power] ?? ""}`;
  });

/** Multiples of 1024 are as round to bytes as tens are to other things. @type {number[]} */
const byteSteps = [0, 10, 20, 30, 40].flatMap((power) =>
  [1, 2, 4, 8, 16, 32, 64, 128, 256, 512].map((by) => by * 2 ** power),
);

/** The clock as the reader has it. @type {import("uplot").Axis.Values} */
const clock = (_plot, values, _index, _space, step) =>
  values.map((value) =>
    new Date(value * 1000).toLocaleTimeString([], {
      hour: "2-digit",
      minute: "2-digit",
      ...(step < 60 && { second: "2-digit" }),
    }),
  );

/**
 * A line across at `value`, or down where `isTime`.
 * @param {import("uplot")} plot
 * @param {number} value
 * @param {boolean} isTime
 * @param {string} stroke
 */
function rule(plot, value, isTime, stroke) {
  const { ctx, bbox } = plot;
  const at = Math.round(plot.valToPos(value, isTime ? "x" : "y", true)) + 0.5;
  ctx.save();
  ctx.strokeStyle = stroke;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash(isTime ? [] : [2 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  if (isTime) {
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
  } else {
    ctx.moveTo(bbox.left, at);
    ctx.lineTo(bbox.left + bbox.width, at);
  }
  ctx.stroke();
  ctx.restore();
}

/**
 * @param {Element} host
 * @param {BurnDown} first
 * @returns {import("uplot").Options}
 */
function burnDownOptions(host, first) {
  const stroke = getComputedStyle(host).getPropertyValue("--state").trim() || colour("accent");
  const stepped = Plot.paths.stepped?.({ align: 1 });
  return {
    ...frame(host.clientWidth, tall),
    scales: { y: { range: [0, first.limit] } },
    axes: [
      { ...axis(), values: clock, space: 70, size: 30 },
      {
        ...axis(),
        values: whole,
        size: 44,
        incrs: [1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 2000, 5000],
      },
    ],
    series: [
      {},
      { stroke, width: 2, fill: `${stroke}22`, points: { show: false }, ...(stepped && { paths: stepped }) },
      { stroke, width: 2, dash: [6, 5], points: { show: false } },
    ],
    hooks: {
      drawClear: [
        (plot) => {
          const { reserve, now } = read(host);
          if (reserve > 0) rule(plot, reserve, false, colour("muted"));
          rule(plot, now, true, colour("muted"));
        },
      ],
    },
  };
}

/**
 * @param {Element} host
 * @param {Bars} first
 * @returns {import("uplot").Options}
 */
function barsOptions(host, first) {
  const isBytes = first.kind === "saved";
  const fills = isBytes ? ["saved"] : ["hit", "join", "stale", "miss", "error"];
  const bars = Plot.paths.bars?.({ size: [0.85, 24], align: 1 });
  return {
    ...frame(host.clientWidth, isBytes ? low : tall),
    scales: {
      x: { range: () => span(read(host)) },
      y: { range: (_plot, _min, max) => [0, isBytes ? Math.max(max, 1024) * 1.05 : Math.max(max, 4) * 1.05] },
    },
    axes: [
      { ...axis(), values: clock, space: 70, size: 30 },
      isBytes
        ? { ...axis(), values: bytes, size: 64, incrs: byteSteps, space: 26 }
        : {
            ...axis(),
            values: whole,
            size: 64,
            incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000],
          },
    ],
    series: [
      {},
      // The tallest is drawn first, since each stands on the ones before it.
      ...fills.toReversed().map((name) => ({
        fill: colour(name),
        width: 0,
        points: { show: false },
        ...(bars && { paths: bars }),
      })),
    ],
  };
}

/** @param {Bars} bars @returns {[number, number]} */
function span({ times, step }) {
  return [times[0] ?? 0, (times.at(-1) ?? 0) + step];
}

/** @param {Element} host @returns {any} what the server wrote there */
function read(host) {
  return JSON.parse(host.getAttribute("data-plot") ?? "{}");
}

/**
 * @param {BurnDown | Bars} data
 * @returns {import("uplot").AlignedData}
 */
function columns(data) {
  if (data.kind === "burn-down") return [data.times, data.left, data.expected];
  /** @type {number[][]} */
  const stacked = [];
  for (const series of data.series) {
    const below = stacked.at(-1);
    stacked.push(series.map((value, index) => value + (below?.[index] ?? 0)));
  }
  return [data.times, ...stacked.toReversed()];
}

/** @param {Element} host */
function draw(host) {
  if (!(host instanceof HTMLElement)) return;
  const data = /** @type {BurnDown | Bars} */ (read(host));
  const key =
    data.kind === "burn-down"
      ? `${data.kind} ${data.limit} ${getComputedStyle(host).getPropertyValue("--state")}`
      : data.kind;
  const there = drawn.get(host);
  if (there?.kind === key) {
    there.plot.setData(columns(data));
    return;
  }
  there?.plot.destroy();
  const options = data.kind === "burn-down" ? burnDownOptions(host, data) : barsOptions(host, data);
  drawn.set(host, { kind: key, plot: new Plot(options, columns(data), host) });
  widths.observe(host);
}

const widths = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const there = drawn.get(target);
    if (there && contentRect.width > 0 && Math.round(contentRect.width) !== there.plot.width) {
      there.plot.setSize({ width: Math.round(contentRect.width), height: there.plot.height });
    }
  }
});

/** @param {ParentNode} within */
function drawAll(within) {
  for (const host of within.querySelectorAll(".plot")) draw(host);
}

/** Colours are drawn, not styled, so a change of them draws everything anew. */
function redrawAll() {
  for (const host of document.querySelectorAll(".plot")) {
    drawn.get(host)?.plot.destroy();
    drawn.delete(host);
    draw(host);
  }
}

new MutationObserver((records) => {
  /** @type {Set<Element>} */
  const hosts = new Set();
  for (const { type, target, addedNodes } of records) {
    if (type === "attributes" && target instanceof Element) {
      for (const host of target.matches(".plot") ? [target] : target.querySelectorAll(".plot"))
        hosts.add(host);
    }
    for (const node of addedNodes) {
      if (!(node instanceof Element) || node.closest(".plot .uplot")) continue;
      for (const host of node.matches(".plot") ? [node] : node.querySelectorAll(".plot")) hosts.add(host);
    }
  }
  for (const host of hosts) if (host.isConnected) draw(host);
}).observe(document.body, { subtree: true, childList: true, attributeFilter: ["data-plot", "class"] });

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
drawAll(document);
