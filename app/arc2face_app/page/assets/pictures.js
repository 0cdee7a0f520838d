// Pictures in a grid, and what can be done with each: the results of a tab. The history draws its tiles with it, too.
(() => {
  const studio = (window.studio ??= {});
  const { make, icon } = studio;
  const NO_MP4 = "MP4 needs one more package on the server: pip install av";

  const GONE = "Only this small copy is left: the full picture went when its page was closed.";
  const AGAIN = "“Use its settings” makes it again.";

  /** Why less can be done with a picture than with a fresh one; empty where nothing is missing. */
  studio.lacking = (one) => {
    if (one.live || one.saved) return "";
    return Object.keys(one.recipe || {}).length && !["film", "sheet"].includes(one.kind) ? `${GONE} ${AGAIN}` : GONE;
  };

  /** What can be done with a picture. A small copy alone brings back settings, nothing more. */
  studio.actionsOf = (one) => {
    const there = one.live || Boolean(one.saved);
    const list = [{ what: "favourite", text: one.favourite ? "Favourite ✓" : "Favourite", pressed: String(Boolean(one.favourite)) }];
    if (there) list.push({ what: "download", text: "Download" });
    if (one.kind === "film") {
      for (const kind of one.live ? (one.mp4 ? ["gif", "mp4"] : ["gif"]) : []) {
        list.push({ what: "film", kind, event: "fetch", text: `Download as ${kind.toUpperCase()}` });
      }
      if (one.frames?.length) list.push({ what: "frames", text: "Show its pictures" });
    } else if (there && one.kind !== "sheet") {
      for (const factor of [2, 4]) {
        list.push({ what: "enlarge", factor, event: "fetch", text: `Download ${factor}× larger, no detail added`, short: `Download ${factor}×` });
      }
      list.push({ what: "photo", event: "carry", text: "Use as photo" }, { what: "turn", event: "carry", text: "Turn it" },
        { what: "express", event: "carry", text: "Change its expression", short: "Change expression" });
    }
    if (there || Object.keys(one.recipe || {}).length) {
      list.push({ what: "settings", event: "reuse", text: "Use its settings", short: "Use settings" }, { what: "seed", event: "reuse", text: "Use its seed", short: "Use seed" });
    }
    if (!one.within) list.push({ what: "remove", text: "Delete" });
    return list;
  };

  studio.download = (url, name) => {
    const link = make("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
  };
  const nameOf = (path) => path.split(/[\\/]/).pop();

  /** Entries as the page shows them: with the address of what there is to see. */
  studio.prepared = (entries, live, { outputs, mp4 }) => entries.map((one) => {
    const url = live.has(one.id) && one.file ? studio.fileUrl(one.file)
      : one.saved && outputs ? studio.fileUrl(`${outputs}/${one.saved}`) : one.thumb || "";
    const frames = (one.frames || []).map((frame) => ({ ...frame, url: studio.fileUrl(frame.file), live: true, within: one.id }));
    return { ...one, url, frames, mp4, live: live.has(one.id), saved: outputs ? one.saved : "" };
  });

  /** The presses that both boards understand. `board`: emit, redraw, entries, removed. */
  studio.act = (board, action, one) => {
    const message = { what: action.what, id: one.id, run: one.run, tab: one.tab, saved: one.saved || "",
      recipe: JSON.stringify(one.recipe || {}), factor: action.factor, kind: action.kind };
    if (action.what === "favourite") {
      one.favourite = !one.favourite;
      studio.memory.favour([one.id], one.favourite);
      board.emit.keep({ what: "favourite", ids: [one.id], on: one.favourite });
      board.redraw();
    } else if (action.what === "download") {
      studio.download(one.url, nameOf(one.saved || one.file));
    } else if (action.what === "frames") {
      studio.lightbox.open(one.frames, 0, board);
    } else if (action.what === "remove") {
      board.removed([one], "Picture deleted.", "remove");
    } else {
      if (action.event !== "fetch") studio.lightbox.close();
      board.emit[action.event](message);
    }
  };

  /** Take pictures off the page, with a way back. Returns the bar that offers it. */
  studio.removal = (board, pictures, words, what) => {
    const all = pictures.flatMap((one) => [one, ...(one.frames || [])]);
    const ids = all.map((one) => one.id);
    const saved = what === "remove" ? all.map((one) => one.saved).filter(Boolean) : [];
    const remembered = studio.memory.take(ids);
    board.emit.keep({ what, ids, saved });
    const undo = () => {
      studio.lightbox.say(null);
      studio.memory.give(remembered);
      board.emit.keep({ what: "restore", ids, saved });
      board.restored(pictures);
    };
    studio.lightbox.say(words, undo);
    return studio.undoBar(words, undo);
  };
  studio.undoBar = (words, undo) => make("div", { class: "undo", role: "status" }, make("span", {}, words),
      make("button", { type: "button", class: "act", "data-key": "undo", onclick: undo }, "Undo"));

  let menu = null;
  const openMenu = (button, actions, why, act) => {
    menu?.remove();
    menu = make("div", { class: "picture-menu", role: "menu", popover: "auto" });
    const choose = (action) => () => { menu.hidePopover(); act(action); };
    menu.append(...actions.map((action) => make("button", { type: "button", role: "menuitem", onclick: choose(action) }, action.text)));
    if (why) menu.append(make("p", { class: "hint" }, why));
    menu.addEventListener("keydown", (event) => {
      if (event.key === "Escape") event.stopPropagation();
      const items = [...menu.querySelectorAll("button")], place = items.indexOf(document.activeElement);
      const next = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: items.length - 1 }[event.key];
      if (next === undefined) return;
      items[(next + items.length) % items.length].focus();
      event.preventDefault();
    });
    (button.closest("dialog") || document.body).append(menu);
    menu.showPopover();
    const [spot, size] = [button.getBoundingClientRect(), menu.getBoundingClientRect()];
    menu.style.left = `${Math.max(8, Math.min(spot.right - size.width, innerWidth - size.width - 8))}px`;
    menu.style.top = `${spot.bottom + size.height + 8 > innerHeight ? Math.max(8, spot.top - size.height - 4) : spot.bottom + 4}px`;
    menu.firstChild?.focus();
  };

  /** One picture with its caption (two lines) and tools. `open(index, compare)`: show it large. */
  studio.tile = (one, index, caption, open, act) => {
    const image = make("img", { src: one.url, alt: one.caption, loading: "lazy", width: one.size?.[0], height: one.size?.[1] });
    image.onerror = () => { // the server has forgotten it, the browser has not
      const thumb = one.thumb || studio.memory.list().find((kept) => kept.id === one.id)?.thumb;
      one.live = false;
      one.saved = "";
      if (thumb && image.src !== thumb) image.src = one.url = thumb;
    };
    const heart = make("button", { type: "button", class: "tool heart", "data-key": `heart-${one.id}`, "aria-label": "Favourite",
      title: "Favourite", "aria-pressed": String(Boolean(one.favourite)), onclick: () => act(studio.actionsOf(one)[0], one) }, icon("heart"));
    const there = one.live || Boolean(one.saved);
    const save = there ? make("button", { type: "button", class: "tool", "data-key": `save-${one.id}`, "aria-label": "Download",
      title: "Download", onclick: () => act({ what: "download" }, one) }, icon("save")) : null;
    const more = make("button", { type: "button", class: "tool", "data-key": `more-${one.id}`, "aria-label": "More for this picture",
      title: "More", "aria-haspopup": "menu" }, icon("more"));
    more.onclick = () => {
      const rest = studio.actionsOf(one).filter((action) => !["favourite", "download"].includes(action.what));
      const view = [{ what: "open", text: "Open large" }];
      if (one.before && one.live) view.push({ what: "compare", text: "Compare with the photo" });
      openMenu(more, [...view, ...rest], studio.lacking(one), (action) => {
        if (action.what === "open" || action.what === "compare") open(index, action.what === "compare");
        else act(action, one);
      });
    };
    return make("li", { class: "thumbnail-item picture", "data-kind": one.kind || "made" },
      make("button", { type: "button", class: "open", "data-key": `open-${one.id}`, "aria-label": `Open large: ${one.caption}`,
        onclick: () => open(index, false) }, image),
      make("div", { class: "below" }, make("span", { class: "caption-label" }, make("b", {}, caption[0]), make("small", {}, caption[1])),
        make("span", { class: "picture-tools" }, heart, save, more)));
  };

  /** Draw without losing the focus: the element of the same key has it afterwards. */
  studio.replace = (root, ...children) => {
    const key = root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    root.replaceChildren(...children.filter(Boolean));
    if (key) (root.querySelector(`[data-key="${key}"]`) || root.querySelector("[data-key]"))?.focus();
  };

  /** Arrow keys walk through the pictures of a grid. */
  studio.walk = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by || !event.target.classList?.contains("open")) return;
    const all = [...event.currentTarget.querySelectorAll(".open")];
    all[(all.indexOf(event.target) + by + all.length) % all.length]?.focus();
    event.preventDefault();
  };

  const motion = (value, emit) => {
    if (!value.motion) return null;
    const figure = (kind, path, words, ...buttons) => make("figure", { class: kind },
      make("img", { src: studio.fileUrl(path), alt: words }), make("figcaption", {}, make("span", {}, words), ...buttons));
    const save = (path, text) => make("button", { type: "button", class: "act", "data-key": `save-${text}`,
      onclick: () => studio.download(studio.fileUrl(path), nameOf(path)) }, text);
    const film = (kind) => make("button", { type: "button", class: "act", "data-key": `film-${kind}`,
      onclick: () => emit.fetch({ what: "film", run: value.run, kind }) }, kind.toUpperCase());
    return make("div", { class: "motion" },
      figure("film", value.motion, "Animation", save(value.motion, "WebP"), film("gif"),
        value.mp4 ? film("mp4") : make("small", {}, NO_MP4)),
      value.sheet ? figure("sheet", value.sheet, "Contact sheet", save(value.sheet, "PNG")) : null);
  };

  /** The results of one tab. Gradio calls it when the component appears. */
  studio.results = (element, props, watch, emit) => {
    let entries = [], bar = null, run = "", order = [];
    let value = {}; // the newest that the server said; answers may overtake each other
    const root = () => element.querySelector(".board");
    const board = {
      emit,
      redraw: () => draw(),
      removed(pictures, words, what) {
        bar = studio.removal(board, pictures, words, what);
        order = entries.map((one) => one.id);
        entries = entries.filter((one) => !pictures.includes(one));
        draw();
        studio.lightbox.update(entries);
      },
      restored(pictures) {
        bar = null;
        const there = new Set(entries.map((one) => one.id));
        entries = [...entries, ...pictures.filter((one) => !there.has(one.id))].sort((one, other) => (other.kind === "pasted") - (one.kind === "pasted")
          || order.indexOf(one.id) - order.indexOf(other.id));
        draw();
        studio.lightbox.update(entries);
      },
      act: (action, one) => { studio.act(board, action, one); studio.lightbox.update(entries); },
    };
    const open = (index, compare) => studio.lightbox.open(entries, index, board, compare);
    const draw = () => {
      const grid = (list) => {
        const sides = list.map((one) => Math.max(...(one.size || [0]))).filter(Boolean);
        return make("ul", { class: "picture-grid", style: `--most: ${2 * (Math.min(...sides) || 512)}px`, onkeydown: studio.walk },
          ...list.map((one) => studio.tile(one, entries.indexOf(one), one.caption.split(" · "), open, board.act)));
      };
      const whole = entries.filter((one) => one.kind === "pasted"), drawn = entries.filter((one) => one.kind !== "pasted");
      const part = (name, list) => (list.length ? make("section", { "aria-label": name }, make("h3", {}, name), grid(list)) : null);
      const shown = whole.length ? [part("In your photo", whole), part("The faces alone", drawn)] : [grid(drawn)];
      studio.replace(root(), motion(value, emit), ...shown, bar);
    };
    const take = () => {
      const said = props.value || {};
      if ((said.stamp ?? 0) < (value.stamp ?? 0)) return;
      value = said;
      const listed = value.entries || [];
      if (value.run !== run) { run = value.run; bar = null; }
      entries = studio.prepared(listed, new Set(listed.map((one) => one.id)), value);
      // In the order in which they stand: photos first.
      entries.sort((one, other) => (other.kind === "pasted") - (one.kind === "pasted"));
      draw();
      if (studio.lightbox.openFor(board)) studio.lightbox.refresh(entries);
      studio.memory.put(value.remember || listed);
    };
    watch("value", take);
    take();
  };
})();
