// Compares two candidates of a table. Data come as scripts, which load from a file or from any host alike.
"use strict";
const itprobe = (() => {
  const waiting = new Map();
  const asked = new Map();
  let table = null;
  let shown = 0;

  const receive = (kind, content) => {
    if (kind === "table") table = content;
    else waiting.get(content.key)?.({ r: content.r, draws: decode(content.draws) });
  };

  const decode = (text) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 4 }, (_, k) => view.getFloat32(4 * k, true));
  };

  const load = (key) => {
    if (!asked.has(key)) asked.set(key, fetched(key));
    return asked.get(key);
  };

  const fetched = (key) =>
    new Promise((resolve, reject) => {
      const source = document.querySelector('script[src$="/table.js"][src*="data/"]').src;
      const script = document.createElement("script");
      waiting.set(key, resolve);
      script.src = new URL(`${key}.js`, source).href;
      script.addEventListener("error", () => {
        asked.delete(key);
        reject(new Error(`the data of ${key} cannot be loaded`));
      });
      document.head.append(script);
    });

  // Quantile between order statistics, as numpy's default.
  const quantile = (sorted, share) => {
    const place = share * (sorted.length - 1);
    const low = Math.floor(place);
    const high = Math.min(low + 1, sorted.length - 1);
    return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
  };

  const difference = (one, other) => {
    const draws = one.draws.map((value, k) => value - other.draws[k]).filter(Number.isFinite).sort();
    const tail = (1 - table.level) / 2;
    return draws.length ? [quantile(draws, tail), quantile(draws, 1 - tail)] : [NaN, NaN];
  };

  const number = (value, signed = false) => {
    if (value === null || !Number.isFinite(value)) return "–";
    const text = Math.abs(value).toFixed(3);
    const negative = value < 0 && Number(text) !== 0;
    return (negative ? "−" : signed && Number(text) !== 0 ? "+" : "") + text;
  };

  const SVG = "http://www.w3.org/2000/svg";
  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const shape = (name, attributes = {}, text = "") => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };

  const ticks = (low, high, most) => {
    const least = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(least));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= least * (1 - 1e-9));
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k <= Math.floor(high / step + 1e-9); k += 1) {
      found.push([k * step, (k * step).toFixed(digits).replace(/^-/, "−")]);
    }
    return found;
  };

  const figure = (label, value, detail) => {
    const definition = element("dd", {}, value);
    if (detail) definition.append(" ", element("small", {}, detail));
    return element("div", {}, element("dt", {}, label), definition);
  };

  const strip = (value, interval) => {
    const reach = 1.15 * Math.max(0.02, ...[value, ...interval].map(Math.abs));
    const at = (x) => 20 + (420 * (x + reach)) / (2 * reach);
    const svg = shape("svg", { viewBox: "0 0 460 74", role: "img", "aria-label": `Difference ${number(value, true)}, 95 % interval ${number(interval[0], true)} to ${number(interval[1], true)}` });
    for (const [x, label] of ticks(-reach, reach, 6)) {
      svg.append(shape("path", { class: "grid", d: `M${at(x)} 8V50` }), shape("text", { class: "x", x: at(x), y: 68 }, label));
    }
    svg.append(
      shape("path", { class: "axis", d: `M${at(0)} 4V54` }),
      shape("path", { class: "span", d: `M${at(interval[0])} 29H${at(interval[1])}` }),
      shape("circle", { class: "dot", cx: at(value), cy: 29, r: 6 }),
    );
    return element("figure", { class: "chart" }, svg, element("figcaption", {}, "Difference in median r (first minus second) and its 95 % interval; right of 0 the first is better."));
  };

  const scatter = (pairs) => {
    const low = Math.min(0, ...pairs.flatMap((pair) => pair.r)) * 1.05;
    const [size, left, base] = [460, 52, 400];
    const x = (value) => left + ((value - low) / (1 - low)) * (size - 10 - left);
    const y = (value) => base - ((value - low) / (1 - low)) * (base - 10);
    const svg = shape("svg", { viewBox: `0 0 ${size} ${base + 46}`, role: "img", "aria-label": "r of each neuroid under both candidates; the figures stand in the table below" });
    for (const [value, label] of ticks(low, 1, 6)) {
      svg.append(
        shape("path", { class: "grid", d: `M${left} ${y(value)}H${size - 10}` }),
        shape("path", { class: "grid", d: `M${x(value)} ${base}V10` }),
        shape("text", { class: "y", x: left - 8, y: y(value) + 4 }, label),
        shape("text", { class: "x", x: x(value), y: base + 18 }, label),
      );
    }
    svg.append(shape("path", { class: "axis", d: `M${x(low)} ${y(low)}L${x(1)} ${y(1)}` }));
    for (const pair of pairs) {
      if (pair.ceiling !== null) svg.append(shape("circle", { class: "ceiling", cx: x(pair.ceiling), cy: y(pair.ceiling), r: 3.4 }));
    }
    for (const pair of pairs) {
      const dot = shape("circle", { class: "neuroid", cx: x(pair.r[0]), cy: y(pair.r[1]), r: 3.8 });
      dot.append(shape("title", {}, `${pair.name}: ${number(pair.r[0])} and ${number(pair.r[1])}, ceiling ${number(pair.ceiling)}`));
      svg.append(dot);
    }
    svg.append(
      shape("text", { class: "label", x: (left + size) / 2, y: base + 40 }, "r, first candidate"),
      shape("text", { class: "label", transform: `translate(13 ${base / 2}) rotate(-90)` }, "r, second candidate"),
    );
    const caption = pairs.some((pair) => pair.ceiling !== null)
      ? "Each dot is a neuroid: below the diagonal the first candidate predicts it better, above it the second. Open circles on the diagonal: each neuroid's own ceiling √ρ."
      : "Each dot is a neuroid: below the diagonal the first candidate predicts it better, above it the second.";
    return element("figure", { class: "chart" }, svg, element("figcaption", {}, caption));
  };

  const neuroidTable = (pairs) => {
    const head = element("tr", {}, element("th", { scope: "col" }, "Neuroid"));
    for (const label of ["First", "Second", "Difference", "Ceiling √ρ"]) head.append(element("th", { scope: "col", class: "n" }, label));
    const body = element("tbody");
    const ordered = [...pairs].sort((a, b) => (b.r[0] - b.r[1]) - (a.r[0] - a.r[1]));
    for (const pair of ordered) {
      body.append(element("tr", {}, element("th", { scope: "row" }, element("bdi", { class: "id" }, pair.name)),
        ...[number(pair.r[0]), number(pair.r[1]), number(pair.r[0] - pair.r[1], true), number(pair.ceiling)].map((text) => element("td", { class: "n" }, text))));
    }
    const grid = element("table", {}, element("caption", { class: "visually-hidden" }, "r of each neuroid, sorted by the difference"), element("thead", {}, head), body);
    const scroll = element("div", { class: "scroll", role: "region", "aria-label": "Neuroids", tabindex: "0" }, grid);
    return element("details", { class: "result" }, element("summary", {}, `All ${pairs.length} neuroids`), scroll);
  };

  const verdict = (labels, interval) => {
    const strong = (text) => element("b", { class: "id" }, text);
    if (!interval.every(Number.isFinite)) return element("p", { class: "verdict" }, "Their difference is not defined.");
    if (interval[0] > 0) return element("p", { class: "verdict" }, strong(labels[0]), " lies wholly above ", strong(labels[1]), ".");
    if (interval[1] < 0) return element("p", { class: "verdict" }, strong(labels[1]), " lies wholly above ", strong(labels[0]), ".");
    return element("p", { class: "verdict" }, strong(labels[0]), " and ", strong(labels[1]), " are tied: the interval of their difference holds 0.");
  };

  const show = async (first, second) => {
    const turn = ++shown;
    const target = document.getElementById("comparison");
    const status = document.getElementById("status");
    const chosen = [first, second].map((key) => table.candidates.find((candidate) => candidate.key === key));
    let data;
    try {
      data = await Promise.all([first, second].map(load));
    } catch (error) {
      if (turn === shown) { target.replaceChildren(); status.classList.remove("visually-hidden"); status.textContent = `Not compared: ${error.message}.`; }
      return;
    }
    if (turn !== shown) return;
    const value = chosen[0].r - chosen[1].r;
    const interval = difference(data[0], data[1]);
    const pairs = table.neuroids
      .map((name, k) => ({ name, r: [data[0].r[k], data[1].r[k]], ceiling: table.ceilings[k] }))
      .filter((pair) => pair.r.every((r) => r !== null));
    const better = pairs.filter((pair) => pair.r[0] > pair.r[1]).length;
    const result = element("dl", { class: "facts", id: "figures" },
      figure("Difference in r", number(value, true), `95 % interval ${number(interval[0], true)} to ${number(interval[1], true)}`),
      figure("r, first", number(chosen[0].r), `rank ${chosen[0].rank}`),
      figure("r, second", number(chosen[1].r), `rank ${chosen[1].rank}`),
      figure("Neuroids", `${better} of ${pairs.length}`, "better predicted by the first"));
    result.dataset.value = value;
    result.dataset.low = interval[0];
    result.dataset.high = interval[1];
    target.replaceChildren(verdict(chosen.map((candidate) => candidate.label), interval), result,
      element("div", { class: "charts" },
        ...(interval.every(Number.isFinite) ? [strip(value, interval)] : []),
        ...(pairs.length ? [scatter(pairs)] : [])),
      ...(pairs.length ? [neuroidTable(pairs)] : []));
    status.classList.add("visually-hidden"); // it says what stands below
    status.textContent = `Difference ${number(value, true)}, interval ${number(interval[0], true)} to ${number(interval[1], true)}.`;
  };

  document.addEventListener("DOMContentLoaded", () => {
    const [first, second] = ["first", "second"].map((id) => document.getElementById(id));
    if (!table) {
      document.getElementById("status").textContent = "The data of this table cannot be loaded.";
      return;
    }
    const keys = table.candidates.map((candidate) => candidate.key);
    for (const select of [first, second]) {
      select.append(...table.candidates.map((candidate) => element("option", { value: candidate.key }, `${candidate.rank}. ${candidate.label} (${number(candidate.r)})`)));
    }
    const wanted = () => new URLSearchParams(location.hash.slice(1));
    const take = () => {
      const [a, b] = [wanted().get("a"), wanted().get("b")];
      first.value = keys.includes(a) ? a : keys[0];
      second.value = keys.includes(b) ? b : keys.find((key) => key !== first.value);
      show(first.value, second.value);
    };
    const changed = () => {
      // Replaced, so that the way back leads to the table.
      location.replace(`#a=${first.value}&b=${second.value}`);
    };
    first.addEventListener("change", changed);
    second.addEventListener("change", changed);
    document.getElementById("swap").addEventListener("click", () => {
      [first.value, second.value] = [second.value, first.value];
      changed();
    });
    addEventListener("hashchange", take);
    const form = document.getElementById("pair");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    take();
  });
  return { receive };
})();
