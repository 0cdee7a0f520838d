// One picture, large, over everything else: arrow keys, Escape, before and after, and what can be done with it.
(() => {
  const studio = (window.studio ??= {});

  /** An element: attributes by name, `on...` as listeners, `class` and text as they are. */
  studio.make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  const { make } = studio;

  const ICONS = {
    heart: "M10 16.500S3.500 12.500 3.500 8A3.500 3.500 0 0 1 10 6.200 3.500 3.500 0 0 1 16.500 8c0 4.500-6.500 8.500-6.500 8.500z",
    save: "M10 3v9m-4-3.500 4 4 4-4M4 16h12",
    more: "M4.500 10h.01M10 10h.01M15.500 10h.01",
    close: "m5 5 10 10M15 5 5 15",
    left: "m12.500 4-6 6 6 6",
    right: "m7.500 4 6 6-6 6",
  };
  studio.icon = (name) => {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg"), path = document.createElementNS(space, "path");
    svg.setAttribute("viewBox", "0 0 20 20");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  };

  /** Address of a file on the server. */
  studio.fileUrl = (path) => {
    const config = window.gradio_config || {};
    const root = config.root || location.origin + location.pathname.replace(/\/$/, "");
    return `${root}${config.api_prefix ?? "/gradio_api"}/file=${path.split("/").map(encodeURIComponent).join("/")}`;
  };

  let dialog = null, list = [], at = 0, host = null, comparing = false, said = null;

  const build = () => {
    dialog = make("dialog", { class: "lightbox", "aria-label": "Picture", onclose: () => { host = said = null; } });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Escape") event.stopPropagation(); // it closes the picture, and nothing else
      if (event.target instanceof HTMLInputElement) return; // the slider of the comparison has the arrows
      if (event.key === "ArrowLeft") step(-1);
      else if (event.key === "ArrowRight") step(1);
      else if (event.key === "Home") step(-at);
      else if (event.key === "End") step(list.length - 1 - at);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    document.body.append(dialog);
  };

  const step = (by) => {
    at = (at + by + list.length) % list.length;
    draw();
  };

  const compared = (one, image) => {
    const before = make("img", { alt: "Your photo", src: studio.fileUrl(one.before), class: "under" });
    const share = Math.round(100 * (one.seam ?? 0.5));
    const ratio = one.size?.[1] ? one.size[0] / one.size[1] : 1;
    const frame = make("div", { class: "compare", style: `--share: ${share}%; --ratio: ${ratio.toFixed(4)}` }, before, image,
      make("span", { class: "side" }, "Photo"), make("span", { class: "side right" }, "Picture"));
    const slider = make("input", { type: "range", min: 0, max: 100, value: share, "aria-label": "How much of the photo is shown",
      oninput: () => frame.style.setProperty("--share", `${slider.value}%`) });
    return make("div", { class: "comparison" }, frame, slider);
  };

  const draw = () => {
    const one = list[at];
    if (!one) { dialog.close(); return; }
    const focused = document.activeElement?.dataset?.key;
    const image = make("img", { alt: one.caption, src: one.url, "data-testid": "large-picture" });
    image.onload = () => {
      // Never far beyond its own pixels: a small picture blown up is only blurred.
      image.style.setProperty("--own", `${3 * image.naturalWidth}px`);
    };
    image.onerror = () => { if (one.thumb && image.src !== one.thumb) image.src = one.thumb; };
    const able = Boolean(one.before) && one.live;
    const stage = make("div", { class: "stage-large" }, comparing && able ? compared(one, image) : image);
    const [width, height] = one.size || [];
    const facts = [`${at + 1} of ${list.length}`, width ? `${width} × ${height} pixels` : null, one.live || one.saved ? null : "small copy"];
    const close = make("button", { type: "button", class: "tool", "aria-label": "Close", "data-key": "close", onclick: () => dialog.close() }, studio.icon("close"));
    const head = make("header", {}, make("div", {}, make("strong", {}, one.caption),
      make("span", { role: "status" }, facts.filter(Boolean).join(" · "))), close);
    const arrow = (name, by, label) => make("button", { type: "button", class: `arrow ${name}`, "aria-label": label, "data-key": name,
      hidden: list.length < 2, onclick: () => step(by) }, studio.icon(name));
    const bar = make("footer", {}, ...studio.actionsOf(one).map((action) => make("button", {
      type: "button", class: `act ${action.what}`, "data-key": action.what, "aria-pressed": action.pressed,
      onclick: () => host.act(action, one) }, action.short || action.text)));
    if (able) {
      bar.prepend(make("button", { type: "button", class: "act", "data-key": "compare", "aria-pressed": String(comparing),
        onclick: () => { comparing = !comparing; draw(); } }, "Compare"));
    }
    const enlarges = (one.live || one.saved) && !["film", "sheet"].includes(one.kind);
    const foot = enlarges ? "2× and 4×: enlarged, no detail added" : studio.lacking(one);
    if (foot) bar.append(make("small", {}, foot));
    if (said) bar.prepend(studio.undoBar(...said));
    dialog.replaceChildren(head, make("div", { class: "middle" }, arrow("left", -1, "Previous picture"), stage,
      arrow("right", 1, "Next picture")), bar);
    (dialog.querySelector(`[data-key="${focused}"]`) || close).focus();
  };

  studio.lightbox = {
    /** `owner.act(action, entry)`: what a press does. The focus returns to where it was when it closes. */
    open(entries, index, owner, compare = false) {
      if (!dialog) build();
      [list, at, host, comparing, said] = [entries, index, owner, compare, null];
      if (!dialog.open) dialog.showModal();
      draw();
    },
    /** Show the entries anew, after one was changed or removed. */
    update(entries) {
      if (!dialog?.open) return;
      if (list[at]?.within) { draw(); return; } // the moments of a film are no list of the board's own
      const id = list[at]?.id;
      const place = entries.findIndex((one) => one.id === id);
      list = entries;
      at = place >= 0 ? place : Math.min(at, entries.length - 1);
      draw();
    },
    /** The list as the server has it now: drawn anew only where something that is seen differs. */
    refresh(entries) {
      const open = list[at], now = entries.find((one) => one.id === open?.id);
      if (open?.within) return;
      const alike = now && entries.length === list.length && ["favourite", "url", "live"].every((name) => now[name] === open[name]);
      if (alike) [list, at] = [entries, entries.indexOf(now)];
      else this.update(entries);
    },
    close: () => dialog?.close(),
    /** A sentence with a way back, such as after a deletion; null takes it away. */
    say(words, undo) {
      said = words && dialog?.open ? [words, undo] : null;
    },
    openFor: (owner) => Boolean(dialog?.open) && host === owner,
  };
})();
