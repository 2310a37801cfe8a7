"use strict";
(() => {
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const record = read("record"), figures = read("figures"), root = document.documentElement;

  // Colours are names of roles; the style sheet says what they are in light and dark.
  const css = name => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const paint = (value, key) =>
    Array.isArray(value) ? value.map(item => paint(item, key))
    : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, paint(v, k)]))
    : typeof value === "string" && /color$/.test(key) ? css(value) || value : value;
  const common = {
    autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: 13, color: "ink" },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "reversed", font: { size: 12 }, bgcolor: "rgba(0,0,0,0)" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "over", activecolor: "accent" },
    hoverlabel: { bgcolor: "card", bordercolor: "line", align: "left", font: { color: "ink", size: 12 } },
  };
  const config = {  // named one by one, since plotly's own set has a button that sends the data to a server
    responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    toImageButtonOptions: { format: "svg", filename: "hwnas" },
  };

  const decode = code => {
    const arch = {};
    record.choices.forEach((choice, place) => {
      const [parent, values] = choice.when || [];
      if (!choice.when || (parent in arch && values.includes(arch[parent]))) arch[choice.name] = choice.values[code[place]];
    });
    return arch;
  };
  const copy = text => navigator.clipboard ? navigator.clipboard.writeText(text).then(() => true, () => false) : Promise.resolve(false);
  const pick = async event => {
    const arch = JSON.stringify(decode(event.points[0].customdata)), out = document.getElementById("picked");
    out.textContent = ((await copy(arch)) ? "Copied: " : "") + arch;
  };
  const draw = () => {
    if (!window.Plotly) return;
    for (const figure of figures) {
      const place = document.getElementById(figure.id), fresh = !place.data;
      const margin = { l: 64, r: 24, t: figure.layout.showlegend === false ? 34 : 64, b: 52 };
      Plotly.react(place, paint(figure.data), paint({ ...common, margin, ...figure.layout }), config);
      if (fresh && figure.data.some(trace => trace.customdata)) place.on("plotly_click", pick);
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", () => {
    root.dataset.theme = "light";
    for (const part of document.querySelectorAll("details:not([open]):not(.long)")) part.dataset.shut = part.open = true;
    draw();
  });
  addEventListener("afterprint", () => {
    delete root.dataset.theme;
    for (const part of document.querySelectorAll("details[data-shut]")) { part.open = false; delete part.dataset.shut; }
    draw();
  });

  const save = (text, type, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const table = () => {
    const flat = (object, prefix) => Object.entries(object || {}).flatMap(([key, value]) =>
      value && typeof value === "object" ? flat(value, `${prefix}${key}.`) : [[prefix + key, value]]);
    const rows = record.trials.map(({ stage, number, state, code, values, details, ...rest }) => ({
      stage, number, state, ...Object.fromEntries(
        [...flat(values, ""), ...Object.entries(rest), ...flat(details, ""), ...flat(decode(code), "arch.")]) }));
    const names = [...new Set(rows.flatMap(Object.keys))];
    const quote = value => /[",\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value;
    return [names, ...rows.map(row => names.map(name => row[name] ?? ""))].map(row => row.map(quote).join(",")).join("\r\n");
  };
  const actions = {
    csv: () => save(table(), "text/csv", `hwnas-${record.run}.csv`),
    json: () => save(JSON.stringify(record, null, 1), "application/json", `hwnas-${record.run}.json`),
    copy: async button => { if (await copy(document.getElementById(button.dataset.of).textContent)) button.textContent = "copied"; },
  };
  for (const button of document.querySelectorAll("button[data-do]"))
    button.addEventListener("click", () => actions[button.dataset.do](button));
})();
