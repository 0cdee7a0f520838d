// What this browser remembers of the pictures made here: settings and small copies, in its own storage.
// Two tabs of the browser share it, so every change reads what is there first and joins by picture.
(() => {
  const studio = (window.studio ??= {});
  const KEY = "studio-history", OFF = "studio-history-off";
  const MOST = 150, SIDE = 192, BYTES = 3_000_000;
  const heard = []; // who wants to know that the list changed elsewhere, or that nothing can be kept
  let refused = false;

  const wanted = () => {
    try { return localStorage.getItem(OFF) === null; } catch { refused = true; return false; }
  };

  const read = () => {
    try {
      const found = JSON.parse(localStorage.getItem(KEY) || "[]");
      return Array.isArray(found) ? found.filter((one) => one && typeof one.id === "string") : [];
    } catch (error) {
      if (!(error instanceof SyntaxError)) refused = true;
      return [];
    }
  };

  // Favourites stay longest, then the newest.
  const fitting = (list, most, bytes) => {
    const ranked = [...list].sort((a, b) => (b.favourite ? 1 : 0) - (a.favourite ? 1 : 0) || b.when - a.when);
    const kept = [];
    let size = 0;
    for (const one of ranked.slice(0, most)) {
      size += JSON.stringify(one).length;
      if (size > bytes) break;
      kept.push(one);
    }
    return kept;
  };

  const write = (list) => {
    const before = refused;
    tried(list);
    if (refused !== before) for (const act of heard) act();
  };

  const tried = (list) => {
    for (const share of [1, 0.5, 0.2]) {
      try {
        localStorage.setItem(KEY, JSON.stringify(fitting(list, MOST * share, BYTES * share)));
        refused = false;
        return;
      } catch { /* full, or not allowed: less may fit */ }
    }
    refused = true;
  };

  const thumbnail = async (url) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const scale = Math.min(1, SIDE / Math.max(image.naturalWidth, image.naturalHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
    canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/jpeg", 0.82);
  };

  studio.memory = {
    list: read,
    wanted,
    /** One sentence where the browser keeps nothing although it should; empty while all is well. */
    problem: () => (refused ? "This browser does not let the page remember anything, or has no room left: "
      + "the list lasts until you close the page." : ""),
    /** Join entries of the server with what is remembered; small copies are made of pictures that have none. */
    async put(entries) {
      entries = entries.filter((one) => !one.cleared);
      if (!wanted() || !entries.length) return;
      const known = new Map(read().map((one) => [one.id, one]));
      const fresh = [];
      for (const one of entries) {
        const thumb = known.get(one.id)?.thumb || (await thumbnail(studio.fileUrl(one.file)).catch(() => ""));
        fresh.push({ ...one, file: "", before: "", frames: [], thumb });
      }
      if (!wanted()) return;
      const all = new Map(read().map((one) => [one.id, one]));
      for (const one of fresh) all.set(one.id, one);
      write([...all.values()]);
    },
    /** Change remembered pictures; returns those that were taken out, for the undo. */
    take(ids) {
      const gone = new Set(ids), list = read();
      write(list.filter((one) => !gone.has(one.id)));
      return list.filter((one) => gone.has(one.id));
    },
    give(list) {
      if (!wanted()) return;
      const all = new Map(read().map((one) => [one.id, one]));
      for (const one of list) all.set(one.id, one);
      write([...all.values()]);
    },
    favour(ids, on) {
      const meant = new Set(ids);
      write(read().map((one) => (meant.has(one.id) ? { ...one, favourite: on } : one)));
    },
    /** Switch remembering on or off; off forgets at once. */
    want(on) {
      try {
        if (on) localStorage.removeItem(OFF);
        else { localStorage.setItem(OFF, "1"); localStorage.removeItem(KEY); }
      } catch { refused = true; }
    },
    changed(act) {
      heard.push(act);
      addEventListener("storage", (event) => { if (event.key === KEY) act(); });
    },
  };
})();
